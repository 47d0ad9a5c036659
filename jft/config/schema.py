"""The rules of a run: nested frozen dataclasses that print, save and compare."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

BUNDLED_WEIGHTS = "resnet20-cifar10"

ClassLoss = Literal["cross-entropy", "focal"]
MaskLoss = Literal["cross-entropy", "dice", "focal", "cross-entropy+dice"]
StemInit = Literal["auto", "sum", "mean", "repeat"]
NumberLoss = Literal["mse", "mae", "huber"]
LOSSES: dict[str, tuple[str, ...]] = {
    "classification": get_args(ClassLoss),
    "multilabel": get_args(ClassLoss),
    "segmentation": get_args(MaskLoss),
    "regression": get_args(NumberLoss),
}
"""Of each task; the first is the default."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network.

    Attributes:
        name: Architecture, such as resnet50, resnext50_32x4d, vgg16_bn or
            resnetv2_50x1_bit. By default the network of the weights.
        width: Channels of the first stage. By default those of the weights, or of
            the architecture.
        pooled_head: Replace the two hidden layers of a VGG's classifier by global
            average pooling: for images of other sizes, with a twentieth of the
            parameters.
        decoder: Decoder for masks: fcn, deeplabv3 or unet. auto takes the decoder
            of the weights; without one, unet for data with masks and none for
            other data.
        channels: Channels of the images: 1 is grey, 4 RGB with opacity; any number for
            TIFF and NumPy (.npy) files. By default those of the weights, mostly 3.
        stem_init: First convolution for other channels: sum, mean or repeat that of
            RGB. auto, as timm: sum for 1 channel, otherwise repeat.
        mean: Mean of each channel in 0..1, with commas. By default that of the weights.
        std: Standard deviation of each channel, like mean.
        new_head: Use a new head even if that of the weights fits. By
            default a head for the same outputs is kept.
    """

    name: str | None = None
    width: int | None = None
    pooled_head: bool = False
    decoder: Literal["auto", "none", "fcn", "deeplabv3", "unet"] = "auto"
    channels: int | None = None
    stem_init: StemInit = "auto"
    mean: str = ""
    std: str = ""
    new_head: bool = False

    def changed(self, wanted: "ModelConfig") -> "ModelConfig":
        """Return this network with the settings of `wanted` that are not defaults."""
        return replace(
            wanted,
            name=wanted.name or self.name,
            width=self.width if wanted.width is None else wanted.width,
            pooled_head=wanted.pooled_head or self.pooled_head,
            decoder=self.decoder if wanted.decoder == "auto" else wanted.decoder,
            channels=self.channels if wanted.channels is None else wanted.channels,
        )


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """The loss. The task itself comes from the data.

    Attributes:
        loss: Loss function. For classes and labels: cross-entropy or focal; for
            masks also dice and cross-entropy+dice; for numbers: mse, mae or huber.
            auto is cross-entropy, or mse for numbers.
        class_weights: balanced weights the loss of each class, and of its pixels in
            masks, by its inverse frequency (mean weight 1), and each label by the
            ratio of negatives to positives (pos_weight in PyTorch). Use this or
            --sampling balanced, not both.
        focal_gamma: Exponent of the focal loss, at least 0: higher values give easy
            examples less weight.
    """

    loss: Literal["auto", ClassLoss, MaskLoss, NumberLoss] = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    focal_gamma: float = 2.0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes to each training image, computed on the device.

    Attributes:
        flip: Mirror left-right with probability 1/2.
        vertical_flip: Mirror upside down with probability 1/2.
        resized_crop: Crop a random part of the image and resize it
            (RandomResizedCrop): the smallest fraction of the area that a crop keeps.
            0 is off; 0.08 is usual for photos of objects.
        rotate: Rotate by a random angle of at most this many degrees, either way.
        jitter: Multiply brightness, contrast and saturation by random factors
            between 1 - jitter and 1 + jitter.
        hue: Shift the hue by at most this fraction of the colour circle, either way;
            at most 0.5.
        crop_padding: Pad each side with this many black pixels, then crop to the
            original size at a random position. 0 is off.
        policy: trivial applies one random operation with a random magnitude
            (TrivialAugment); rand applies several with one magnitude (RandAugment).
        rand_operations: Operations per image with --augment.policy rand.
        rand_magnitude: Magnitude of these operations, 0 to 30.
        erase: Probability of replacing a random rectangle by noise (random erasing).
        mixup: Mix pairs of images and their labels with a weight from
            Beta(mixup, mixup). 0 is off; 0.2 is usual.
        cutmix: Paste a rectangle of one image into another and mix their labels; the
            fraction of its area is from Beta(cutmix, cutmix). 0 is off; 1 is usual.
            With mixup as well, each pair gets one of the two. The training accuracy
            in the log compares with the original labels.
    """

    flip: bool = False
    vertical_flip: bool = False
    resized_crop: float = 0.0
    rotate: float = 0.0
    jitter: float = 0.0
    hue: float = 0.0
    crop_padding: int = 2
    policy: Literal["none", "trivial", "rand"] = "none"
    rand_operations: int = 2
    rand_magnitude: int = 9
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimizer and the learning rate.

    Attributes:
        name: Optimizer: sgd (with momentum), adamw, lion, lamb, lars or muon. muon
            updates kernels; adamw updates the head and all other parameters.
        learning_rate: Peak learning rate.
        schedule: Learning rate over the run. cosine and linear decrease to zero.
            step multiplies by drop_factor every drop_epochs. plateau does so when
            the training loss has not decreased for drop_epochs. one-cycle increases,
            then decreases, both along cosines. constant does not change.
        warmup_epochs: Epochs of linear warmup from zero.
        drop_factor: Factor of the schedules step and plateau.
        drop_epochs: Epochs between the drops of step; patience of plateau.
        momentum: Momentum of sgd, lars and muon, in [0, 1).
        weight_decay: Decoupled weight decay: each step subtracts
            learning_rate * weight_decay * weight.
        decay_rules: Parameters with weight decay, as PATTERN=FACTOR,... The first
            pattern that matches a name applies. Other parameters have no decay.
        layer_decay: Layer-wise learning-rate decay: each layer has the learning rate
            of the next layer times this factor. The head has the full one. Layers
            are the stem, residual blocks and the head.
        l2_sp: Decoupled decay of pretrained parameters towards their pretrained
            values (L2-SP).
        clip_norm: Clip the gradient to this global norm. By default no clipping.
        accumulate: Gradient accumulation: split each batch into this many parts.
            Batch normalisation uses the statistics of one part. Saves no memory on
            CPU.
        sam: Radius of sharpness-aware minimisation. 0 is off; 0.05 is usual.
        ema: Decay per step of an exponential moving average of the trained
            parameters, which is evaluated and saved instead of them. 0 is off;
            0.999 is usual.
    """

    name: Literal["sgd", "adamw", "lion", "lamb", "lars", "muon"] = "sgd"
    learning_rate: float = 0.05
    schedule: Literal[
        "cosine", "linear", "step", "one-cycle", "plateau", "constant"
    ] = "cosine"
    warmup_epochs: float = 0.0
    drop_factor: float = 0.1
    drop_epochs: int = 2
    momentum: float = 0.9
    weight_decay: float = 0.0
    decay_rules: str = "*/kernel=1"
    layer_decay: float = 1.0
    l2_sp: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    sam: float = 0.0
    ema: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Fine-tune a pretrained network on your images.

    Attributes:
        data: Data set: digits, folder:PATH, csv:FILE, masks:PATH, coco:FILE,
            hf-parquet:PATH, webdataset:PATH or tfds:NAME; options follow a question
            mark, as in csv:FILE?label=kind. folder:PATH has train/ and test/ (or
            val/) with one folder per class, or only the class folders. Without a
            test split, about a fifth of the images is for testing. See docs/data.md.
        task: The loss and class weights.
        sampling: shuffle uses every example once per epoch. balanced draws the same
            number of examples, with every class equally often. Use this or
            --task.class-weights balanced, not both.
        weights: Initial weights: default (the published weights of the network, or
            resnet20-cifar10, which comes with jft, if no network is named), a
            checkpoint file or its folder, the folder of a run, torchvision:NAME,
            timm:NAME, keras:NAME, bit:NAME, hf:OWNER/REPO, https://...#sha256=HEX, or
            none for random values. python -m jft.convert --list shows the names.
        freeze: What is frozen: none, until:STAGE (this stage and all before it),
            from:STAGE (this stage and all after it, except the head), first:N (the
            first N layers), all-but:STAGE, bias-only or norm-only (only these and the
            head are trained), or PATTERN=LR_MULT,... The first pattern that matches a
            parameter's name gives its learning-rate multiplier; without =LR_MULT it
            freezes. Other parameters have multiplier 1.
        norm: Batch normalisation: stored (uses the stored statistics), batch (uses
            the batch's statistics and updates the stored ones) or adapt (for frozen
            stages: uses the stored statistics and updates them), for all stages, or
            as STAGE=MODE,... auto is stored where scale and bias are frozen, and
            batch elsewhere.
        phases: Phases before the epochs with --freeze: EPOCHS*RULE[@LR], separated
            by semicolons. Several learning rates (0.01|0.1) are tried, and the best
            is kept. gradual:EPOCHS starts with the head and unfreezes one more stage
            every EPOCHS epochs.
        epochs: Passes over the training images.
        batch_size: Images per step, over all devices.
        image_size: Side of the square input of the network, in pixels. By default
            the size that the weights were trained with.
        crop: Part of an image that is used: its central square (centre), or all of it,
            with both sides resized (squash) or the rest filled with the mean colour
            (letterbox). auto is that of the weights; with masks, letterbox.
        label_smoothing: Fraction of the target that is spread evenly over all
            classes; for labels, the target moves this far towards 1/2. By default
            0.1 for cross-entropy and 0 for focal losses. dice and the losses of
            numbers have none.
        dropout: Dropout probability of the features before the head, and in the
            hidden layers of a VGG.
        drop_path: Stochastic depth: probability of skipping the last residual
            block, decreasing linearly to 0 at the first. Frozen blocks are never
            skipped.
        dtype: Data type of the computation. Parameters, statistics and the loss are
            always float32.
        remat: Rematerialisation (gradient checkpointing): recompute the activations
            of trained blocks in the backward pass. Saves no memory on CPU.
        seed: Seed of the new head, the order of the images and the augmentation.
        devices: jit uses one device, pmap uses all. auto is pmap if there are
            several.
        workdir: Folder of the run. By default a new one in runs/, named after the
            settings.
        workers: Processes that prepare batches. 0 uses threads.
        cache: Folder for decoded and resized images, which later runs use again. By
            default they are kept in memory, if they fit.
        features: Where the features of the frozen part are kept, so that it runs once
            per image and not in every epoch: memory, disk (the cache folder of jft,
            which later runs use again) or off. auto takes disk or memory where it
            saves time and the space is there; the plan shows it.
            Needs a frozen part, and images that are the same in each epoch.
        views: Keep the features of this many randomly changed versions of each
            training image, and use them in turn, one per epoch. 0 draws new changes
            in every epoch.
        checkpoint_every: Steps between checkpoints within an epoch. 0 saves only at
            the end of each epoch.
        skip_nonfinite: Leave out at most this many updates of the run whose loss or
            gradient is not finite. By default the first one ends the run.
        early_stop: End the run after this many epochs without improvement on the test
            images, and keep the best epoch. 0 trains all epochs. With --phases only
            the epochs of the last phase count.
        early_stop_metric: Metric that must improve. auto is the score of the task:
            accuracy, mAP, mIoU or r2. loss, mae and rmse are better the lower.
        early_stop_min_delta: By how much it must improve.
    """

    data: str = "digits"
    task: TaskConfig = field(default_factory=TaskConfig)
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    weights: str = "default"
    model: ModelConfig = field(default_factory=ModelConfig)
    freeze: str = "until:stage2"
    norm: str = "auto"
    phases: str = ""
    epochs: int = 6
    batch_size: int = 32
    image_size: int | None = None
    crop: Literal["auto", "centre", "squash", "letterbox"] = "auto"
    label_smoothing: float | None = None
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    seed: int = 0
    devices: Literal["auto", "jit", "pmap"] = "auto"
    workdir: str | None = None
    workers: int = 0
    cache: str | None = None
    features: Literal["auto", "memory", "disk", "off"] = "auto"
    views: int = 0
    checkpoint_every: int = 0
    skip_nonfinite: int = 0
    early_stop: int = 0
    early_stop_metric: str = "auto"
    early_stop_min_delta: float = 0.0
