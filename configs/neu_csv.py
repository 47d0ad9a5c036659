"""The recipe of neu_steel.py on a table: a file with columns path, label and split.

Command (`neu.csv` begins `path,label,split`, and its paths are relative to `PATH`):

    python -m jft.train --config configs/neu_csv.py --data 'csv:neu.csv?root=PATH'

Expected: what configs/neu_steel.py says, to the bit, if the table lists the images of
each split in that order (by class, then by name).
Hardware: 2 CPU cores.
Time: as that one.
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
