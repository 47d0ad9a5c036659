"""Tasks of VTAB-1k (Zhai et al. 2020): 1,000 training examples, all test examples.

Command (prepare the data set with TFDS first, which needs TensorFlow; reading does
not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('caltech101', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_vtab.py

The other tasks, by the text after `--data 'tfds:`:

    cifar100?train=train[:1000]                     dtd?train=train[:1000]
    oxford_flowers102?train=train[:1000]            svhn_cropped?train=train[:1000]
    oxford_iiit_pet?label=label&train=train[:1000]  patch_camelyon?train=train[:1000]
    sun397:tfds?train=train[:1000]                  dmlab?train=train[:1000]
    eurosat:rgb?train=train[:1000]&test=train[80%:]
    resisc45?train=train[:1000]&test=train[80%:]
    diabetic_retinopathy_detection:btgraham-300?train=train[:1000]
    smallnorb?label=label_azimuth&train=train[:1000]
    smallnorb?label=label_elevation&train=train[:1000]

VTAB selects its own 1,000 examples, so results are close to VTAB's, but not the same.
VTAB computes the labels of five tasks in code (both of CLEVR, KITTI's distances,
dSprites' bins): export those as a table for `csv:FILE`.

Expected: not measured; jft was built where neither images nor weights could be
downloaded.
Hardware: a GPU; on CPUs, `--dry-run` estimates the time of an epoch.
Time: not measured.
"""

from jft.config import AugmentConfig, OptimConfig, TrainConfig

config = TrainConfig(
    data="tfds:caltech101?train=train[:1000]&test=test",
    weights="torchvision:resnet50/IMAGENET1K_V2",
    freeze="none",
    epochs=100,
    batch_size=64,
    augment=AugmentConfig(flip=True, crop_padding=0, resized_crop=0.5),
    optim=OptimConfig(learning_rate=0.003, warmup_epochs=0.5, momentum=0.9),
)
