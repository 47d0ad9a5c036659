"""Road cracks: a U-Net on the bundled ResNet-20, from 94 images with masks.

CrackForest (Shi et al. 2016, https://github.com/cuilimeng/CrackForest-dataset;
non-commercial research), 480x320 pixels seen at 192x128. Command (`PATH` holds
`train/images`, `train/masks`, `test/images` and `test/masks`):

    python -m jft.train --config configs/crackforest_unet.py \
        --data 'masks:PATH?classes=background,crack'

Expected: mIoU 72.86 % (72.84 to 73.00, 3 seeds) on the 24 test images, F1 of the cracks
0.641 (0.641 to 0.643). To call everything background gives an mIoU of 49.1 % and an F1
of 0: 1.8 % of the pixels are crack.
Hardware: 2 CPU cores, shared with other work.
Time: 10 min 24 s there.
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
