"""Steel-surface defects (NEU-CLS): six classes of grey 200x200 images, at 64x64.

Command (`PATH` holds `train/CLASS/*.jpg` and `test/CLASS/*.jpg`):

    python -m jft.train --config configs/neu_steel.py --data folder:PATH

Expected: 99.72 % (99.44 to 99.72, 3 seeds) on the 359 test images;
with `--weights none`, the same recipe from random weights (those of the frozen stages
stay random): 82.45 % (65.18 to 88.86, 3 seeds).
Hardware: 2 CPU cores, shared with other work.
Time: 248 s there.
"""

from jft.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="folder:../shared/data/neu_cls",
    model=ModelConfig(name="resnet20"),
    freeze="until:stage2",
    epochs=10,
    batch_size=64,
    image_size=64,
    label_smoothing=0.0,
    augment=AugmentConfig(flip=True, crop_padding=0),
    optim=OptimConfig(learning_rate=0.05, warmup_epochs=1.0),
)
