"""CIFAR-100 by way of TFDS: the bundled ResNet-20, which has seen CIFAR-10.

Command (what TFDS has prepared is found by its name; preparing wants TensorFlow,
reading does not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('cifar100', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_cifar100.py

`?label=coarse_label` behind the data asks for the 20 kinds instead of the 100.

Expected: not run: neither images nor weights could be downloaded where jft was built.
Hardware: a GPU; on CPUs `--dry-run` tells how long an epoch takes.
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
