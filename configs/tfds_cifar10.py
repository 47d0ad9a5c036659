"""CIFAR-10 by way of TFDS: a ResNet-50 that has seen ImageNet, at 128x128.

Command (what TFDS has prepared is found by its name; preparing wants TensorFlow,
reading does not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('cifar10', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_cifar10.py

Expected: not run: neither images nor weights could be downloaded where jft was built.
Hardware: a GPU; on CPUs `--dry-run` tells how long an epoch takes.
Time: not measured.
"""

from jft.config import AugmentConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="tfds:cifar10",
    weights="torchvision:resnet50/IMAGENET1K_V2",
    freeze="until:stem",
    epochs=10,
    batch_size=128,
    image_size=128,
    augment=AugmentConfig(flip=True, crop_padding=0, resized_crop=0.25),
    optim=OptimConfig(learning_rate=0.02, warmup_epochs=0.5, momentum=0.9),
)
