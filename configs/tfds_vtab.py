"""Tasks of VTAB-1k (Zhai et al. 2020): 1,000 examples to train on, all to test.

Command (what TFDS has prepared is found by its name; preparing wants TensorFlow,
reading does not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('caltech101', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_vtab.py

The other tasks, by what stands behind `--data 'tfds:`:

    cifar100?train=train[:1000]                     dtd?train=train[:1000]
    oxford_flowers102?train=train[:1000]            svhn_cropped?train=train[:1000]
    oxford_iiit_pet?label=label&train=train[:1000]  patch_camelyon?train=train[:1000]
    sun397:tfds?train=train[:1000]                  dmlab?train=train[:1000]
    eurosat:rgb?train=train[:1000]&test=train[80%:]
    resisc45?train=train[:1000]&test=train[80%:]
    diabetic_retinopathy_detection:btgraham-300?train=train[:1000]
    smallnorb?label=label_azimuth&train=train[:1000]
    smallnorb?label=label_elevation&train=train[:1000]

VTAB takes the 1,000 from its own parts of the data, so that results are near to its,
but not the same. Five of its tasks have labels that its code works out (both of CLEVR,
KITTI's distances, dSprites' bins): export those as a table, for `csv:FILE`.

Expected: not run: neither images nor weights could be downloaded where jft was built.
Hardware: a GPU; on CPUs `--dry-run` tells how long an epoch takes.
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
