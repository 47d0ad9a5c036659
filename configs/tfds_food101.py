"""Food-101: 101 dishes, 750 photographs of each; TFDS's validation is the test.

Command (prepare the data set with TFDS first, which needs TensorFlow; reading does
not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('food101', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_food101.py

Expected: not measured; jft was built where neither images nor weights could be
downloaded.
Hardware: a GPU; on CPUs, `--dry-run` estimates the time of an epoch.
Time: not measured.
"""

from jft.config import AugmentConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="tfds:food101",
    weights="torchvision:resnet50/IMAGENET1K_V2",
    freeze="until:stem",
    epochs=20,
    batch_size=128,
    augment=AugmentConfig(flip=True, crop_padding=0, resized_crop=0.25),
    optim=OptimConfig(learning_rate=0.02, warmup_epochs=0.5, momentum=0.9),
)
