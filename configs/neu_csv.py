"""The recipe of neu_steel.py on a table: a file with columns path, label and split.

Command (`neu.csv` starts with `path,label,split`; its paths are relative to `PATH`):

    python -m jft.train --config configs/neu_csv.py --data 'csv:neu.csv?root=PATH'

Expected: the result of configs/neu_steel.py, to the bit, if the table lists the images
of each split in the same order (by class, then by name).
Hardware: 2 CPU cores.
Time: that of configs/neu_steel.py.
"""

from jft.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="csv:neu.csv?root=../shared/data/neu_cls",
    model=ModelConfig(name="resnet20"),
    freeze="until:stage2",
    epochs=10,
    batch_size=64,
    image_size=64,
    label_smoothing=0.0,
    augment=AugmentConfig(flip=True, crop_padding=0),
    optim=OptimConfig(learning_rate=0.05, warmup_epochs=1.0),
)
