"""Oxford Flowers: 102 kinds, from 10 photographs of each, and 6,149 to test.

Command (what TFDS has prepared is found by its name; preparing wants TensorFlow,
reading does not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('oxford_flowers102', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_oxford_flowers102.py

`?train=train+validation` trains on twice as many, as many papers do.

Expected: not run: neither images nor weights could be downloaded where jft was built.
Hardware: a GPU; on CPUs `--dry-run` tells how long an epoch takes.
Time: not measured.
"""

from jft.config import AugmentConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="tfds:oxford_flowers102",
    weights="torchvision:resnet50/IMAGENET1K_V2",
    freeze="until:stage2",
    epochs=60,
    batch_size=32,
    augment=AugmentConfig(flip=True, crop_padding=0, resized_crop=0.25),
    optim=OptimConfig(learning_rate=0.01, warmup_epochs=0.5, momentum=0.9),
)
