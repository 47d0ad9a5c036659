"""What tutorials of fine-tuning teach: a ResNet-50 with its first layers frozen.

It is pretrained on ImageNet. The first five layers (the stem, the three blocks of
stage1 and the first of stage2) are frozen; SGD with learning rate 1e-4 trains the rest
for ten epochs; the parameters are saved for inference.

Command (`PATH` holds `train/CLASS/*.jpg` and `test/CLASS/*.jpg`, or class folders):

    python -m jft.train --config configs/tutorial_resnet50.py --data folder:PATH
    python -m jft.predict runs/PATH-resnet50-... IMAGE

Expected: not measured; ImageNet weights could not be downloaded where this was written.
The learning rate is low: small data sets need more epochs, or `--optim.learning-rate
0.01`. tests/train/test_tutorial.py repeats every step by hand on a narrow network.
Hardware: any; slow on 2 CPU cores.
Time: `--dry-run` estimates it for your images and machine.
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
