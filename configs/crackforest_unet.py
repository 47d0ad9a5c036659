"""Road cracks: a U-Net on the bundled ResNet-20, from 94 images with masks.

    python -m jft.train --config configs/crackforest_unet.py --data masks:PATH

PATH is CrackForest (Shi et al. 2016, https://github.com/cuilimeng/CrackForest-dataset;
non-commercial research) as `train/images`, `train/masks`, `test/images`, `test/masks`.
"""

from jft.config import (
    AugmentConfig,
    ModelConfig,
    OptimConfig,
    TaskConfig,
    TrainConfig,
)

config = TrainConfig(
    data="masks:../shared/data/crackforest?classes=background,crack",
    task=TaskConfig(loss="cross-entropy+dice"),
    model=ModelConfig(name="resnet20", decoder="unet"),
    freeze="until:stage2",
    epochs=12,
    batch_size=8,
    image_size=192,
    label_smoothing=0.0,
    augment=AugmentConfig(
        crop_padding=0, flip=True, vertical_flip=True, rotate=20.0, jitter=0.3
    ),
    optim=OptimConfig(name="adamw", learning_rate=3e-3, weight_decay=1e-2),
)
