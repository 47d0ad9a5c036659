"""Imagenette: ten easy classes of ImageNet, which the weights have seen.

Command (prepare the data set with TFDS first, which needs TensorFlow; reading does
not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('imagenette/320px-v2', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_imagenette.py

Expected: not measured; jft was built where neither images nor weights could be
downloaded.
Hardware: a GPU; on CPUs, `--dry-run` estimates the time of an epoch.
Time: not measured.
"""

from jft.config import AugmentConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="tfds:imagenette:320px-v2",
    weights="torchvision:resnet50/IMAGENET1K_V2",
    freeze="all-but:head",
    epochs=3,
    batch_size=64,
    augment=AugmentConfig(flip=True, crop_padding=0, resized_crop=0.25),
    optim=OptimConfig(learning_rate=0.01, warmup_epochs=0.5, momentum=0.9),
)
