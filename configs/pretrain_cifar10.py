"""Pretrain the ResNet-20 that comes with jft, from random weights on CIFAR-10.

Command (the images as JPEG files, `cifar10/{train,test}/CLASS/*.jpg`):

    python -m jft.train --config configs/pretrain_cifar10.py \
        --data folder:cifar10 --workdir cifar10
    python -m jft.bundle cifar10 jft/weights/resnet20_cifar10.safetensors

Expected: PLACEHOLDER
"""

from jft.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="folder:cifar10",
    weights="none",
    model=ModelConfig(name="resnet20"),
    freeze="none",
    epochs=24,
    batch_size=128,
    augment=AugmentConfig(flip=True, crop_padding=4),
    optim=OptimConfig(learning_rate=0.1, warmup_epochs=1.0, weight_decay=2e-3),
)
