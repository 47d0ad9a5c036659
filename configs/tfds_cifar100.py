"""CIFAR-100 from TFDS: the bundled ResNet-20, pretrained on CIFAR-10.

Command (prepare the data set with TFDS first, which needs TensorFlow; reading does
not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('cifar100', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_cifar100.py

`?label=coarse_label` after the name selects the 20 superclasses instead of the 100.

Expected: not measured; jft was built where neither images nor weights could be
downloaded.
Hardware: a GPU; on CPUs, `--dry-run` estimates the time of an epoch.
Time: not measured.
"""

from jft.config import AugmentConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="tfds:cifar100",
    weights="resnet20-cifar10",
    freeze="until:stem",
    epochs=30,
    batch_size=128,
    augment=AugmentConfig(flip=True, crop_padding=0),
    optim=OptimConfig(learning_rate=0.1, warmup_epochs=0.5, momentum=0.9),
)
