"""Pretrain the ResNet-20 that comes with jft, from random weights on CIFAR-10.

Command (the images as JPEG files, `cifar10/{train,test}/CLASS/*.jpg`):

    python -m jft.train --config configs/pretrain_cifar10.py \
        --data folder:cifar10 --workdir pretrained
    python -m jft.export pretrained jft/weights/resnet20_cifar10.safetensors

Expected: 86.41 % on the 10,000 JPEG test images (one run, seed 0).
Hardware: 2 CPU cores, shared with other work.
Time: 1 hour 51 minutes there, at 200 images a second.
"""

from jft.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="folder:cifar10",
    weights="none",
    model=ModelConfig(name="resnet20"),
    freeze="none",
    epochs=26,
    batch_size=128,
    label_smoothing=0.1,
    augment=AugmentConfig(flip=True, crop_padding=4),
    optim=OptimConfig(learning_rate=0.1, warmup_epochs=1.0, weight_decay=5e-3),
)
