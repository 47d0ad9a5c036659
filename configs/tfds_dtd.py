"""Describable Textures: 47 textures, the first of the ten official splits.

Command (prepare the data set with TFDS first, which needs TensorFlow; reading does
not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('dtd', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_dtd.py

Expected: not measured; jft was built where neither images nor weights could be
downloaded.
Hardware: a GPU; on CPUs, `--dry-run` estimates the time of an epoch.
Time: not measured.
"""

from jft.config import AugmentConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="tfds:dtd",
    weights="torchvision:resnet50/IMAGENET1K_V2",
    freeze="until:stage2",
    epochs=40,
    batch_size=32,
    augment=AugmentConfig(flip=True, crop_padding=0, resized_crop=0.25),
    optim=OptimConfig(learning_rate=0.01, warmup_epochs=0.5, momentum=0.9),
)
