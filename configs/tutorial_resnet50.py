"""What every tutorial of fine-tuning teaches: a ResNet-50, its first layers frozen.

Pretrained on ImageNet; the first five layers (the stem, the three blocks of stage1 and
the first of stage2) stay as they are, all the others move by SGD at 1e-4 for ten
epochs, and the parameters are saved for inference.

Command (`PATH` holds `train/CLASS/*.jpg` and `test/CLASS/*.jpg`, or class folders):

    python -m jft.train --config configs/tutorial_resnet50.py --data folder:PATH
    python -m jft.predict runs/PATH-resnet50-... IMAGE

Expected: as good as the images are many; the rate is low, so small sets want more
epochs, or `--optim.learning-rate 0.01`. Not measured here: ImageNet weights could not
be downloaded where this was written. tests/train/test_tutorial.py repeats every step by
hand on a narrow network.
Hardware: anything; 2 CPU cores do as well, slowly.
Time: `--dry-run` tells it for your images and machine.
"""

from jft.config import AugmentConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="folder:images",
    weights="torchvision:resnet50/IMAGENET1K_V1",
    freeze="first:5",
    epochs=10,
    label_smoothing=0.0,
    augment=AugmentConfig(flip=True, crop_padding=0),
    optim=OptimConfig(name="sgd", learning_rate=1e-4, schedule="constant"),
)
