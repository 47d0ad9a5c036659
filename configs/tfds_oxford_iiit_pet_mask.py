"""Oxford-IIIT Pet's trimaps: pet, background and the border between them.

Command (prepare the data set with TFDS first, which needs TensorFlow; reading does
not):

    python -c "import tensorflow_datasets as tfds; tfds.builder('oxford_iiit_pet', \
        file_format='array_record').download_and_prepare()"
    python -m jft.train --config configs/tfds_oxford_iiit_pet_mask.py

`&values=1,2&void=3&classes=pet,background` makes the border void.

Expected: not measured; jft was built where neither images nor weights could be
downloaded.
Hardware: a GPU; on CPUs, `--dry-run` estimates the time of an epoch.
Time: not measured.
"""

from jft.config import AugmentConfig, ModelConfig, OptimConfig, TaskConfig, TrainConfig

config = TrainConfig(
    data="tfds:oxford_iiit_pet?label=segmentation_mask&classes=pet,background,border",
    weights="torchvision:resnet50/IMAGENET1K_V2",
    freeze="until:stage2",
    epochs=30,
    batch_size=16,
    label_smoothing=0.0,
    model=ModelConfig(decoder="unet"),
    task=TaskConfig(loss="cross-entropy+dice"),
    augment=AugmentConfig(flip=True, crop_padding=0),
    optim=OptimConfig(learning_rate=0.01, warmup_epochs=0.5, momentum=0.9),
)
