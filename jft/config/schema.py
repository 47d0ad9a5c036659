"""The rules of a run: nested frozen dataclasses that print, save and compare."""

from dataclasses import dataclass, field
from typing import Literal

BUNDLED_WEIGHTS = "resnet20-cifar10"

ClassLoss = Literal["cross-entropy", "focal"]
MaskLoss = Literal["cross-entropy", "dice", "focal", "cross-entropy+dice"]
NumberLoss = Literal["mse", "mae", "huber"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network is adapted.

    Attributes:
        name: Architecture, such as resnet50, resnext50_32x4d, vgg16_bn or
            resnetv2_50x1_bit. None takes what the weights say they are for.
        width: Channels of the first stage. None keeps the architecture's own, or
            that of a run whose weights these are.
        pooled_head: Leave out the two hidden layers of a VGG's classifier, so that
            the head sees the means of the features. For images of other sizes, and
            a twentieth of the parameters.
        decoder: What makes a map of classes out of the features: fcn, deeplabv3 or
            unet. auto takes the weights' own; else unet for data with masks, and
            none for data without.
    """

    name: str | None = None
    width: int | None = None
    pooled_head: bool = False
    decoder: Literal["auto", "none", "fcn", "deeplabv3", "unet"] = "auto"

    def changed(self, wanted: "ModelConfig") -> "ModelConfig":
        """Return this network with what somebody asks to have otherwise."""
        return ModelConfig(
            name=wanted.name or self.name,
            width=self.width if wanted.width is None else wanted.width,
            pooled_head=wanted.pooled_head or self.pooled_head,
            decoder=self.decoder if wanted.decoder == "auto" else wanted.decoder,
        )


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """How mistakes are counted. What there is to learn, the data says.

    Attributes:
        loss: cross-entropy or focal for classes and labels; these, dice or
            cross-entropy+dice for masks; mse, mae or huber for numbers. auto is
            cross-entropy, and mse for numbers.
        class_weights: balanced makes up for how unevenly the training data has them.
            A class, or in masks its pixels, counts by the inverse of how often it
            occurs, on average 1; a label, in images that have it, by how many lack it
            for each that has it (torch's pos_weight). sampling does the same.
        focal_gamma: How much a focal loss looks away from what is easy; at least 0.
    """

    loss: Literal["auto", ClassLoss, MaskLoss, NumberLoss] = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    focal_gamma: float = 2.0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes to each training image, made on the device.

    Attributes:
        flip: Mirror left-right with probability 1/2.
        vertical_flip: Mirror upside down with probability 1/2.
        resized_crop: Smallest share of an image's area that a crop at random keeps,
            which is then brought to size (Inception; 0.08 is usual for photographs of
            objects). 0 makes no such crop.
        rotate: Largest angle, in degrees, of a turn to either side.
        jitter: Change brightness, contrast and saturation by factors between
            1 - jitter and 1 + jitter.
        hue: Largest shift of the hue to either side, of a whole turn; at most 0.5.
        crop_padding: Pad every side with this many black pixels, then crop back to
            size at a random place. 0 leaves the image where it is.
        policy: trivial applies one operation at a random strength (TrivialAugment),
            rand applies several of one strength (RandAugment).
        rand_operations: Operations per image under rand.
        rand_magnitude: Their strength, 0 to 30.
        erase: Probability of covering a random rectangle with noise (random erasing).
        mixup: Blend pairs of images and of their labels, by a share drawn from
            Beta(mixup, mixup). 0 blends none; 0.2 is usual.
        cutmix: Paste a rectangle of one image of a pair into the other, of a share
            drawn from Beta(cutmix, cutmix). 0 pastes none; 1 is usual. With mixup
            too, each pair gets one of the two. The training accuracy in the log is
            that of the images' own labels.
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
    """How the trained parameters move.

    Attributes:
        name: sgd (with momentum), adamw, lion, lamb, lars, or muon, which leaves
            the head and what is not a kernel to adamw.
        learning_rate: Peak learning rate.
        schedule: cosine and linear fall to zero over the run; step multiplies by
            drop_factor every drop_epochs; plateau does when the training loss has
            not fallen for drop_epochs; one-cycle rises and falls as cosines;
            constant stays.
        warmup_epochs: Epochs over which the learning rate first rises linearly from
            zero.
        drop_factor: What step and plateau multiply the learning rate by.
        drop_epochs: Epochs between drops of step; patience of plateau.
        momentum: Momentum of sgd, lars and muon, in [0, 1).
        weight_decay: Decoupled decay: each step also moves a weight by
            -learning_rate * weight_decay * weight.
        decay_rules: Which parameters decay: PATTERN=FACTOR, separated by commas, of
            which the first that matches a name counts. What none matches does not
            decay.
        layer_decay: The learning rate of each layer is this times that of the layer
            behind it; the head's is the full one. Layers are the stem, residual
            blocks, the head.
        l2_sp: Decoupled decay towards the pretrained values, of what was loaded
            (L2-SP).
        clip_norm: Scale the trained part's gradient down to at most this global
            norm. None leaves it.
        accumulate: Parts that a batch is computed in, one after the other. Batch
            statistics are of a part, and move with each. On CPU it saves no memory.
        sam: Radius of sharpness-aware minimisation. 0 is without; 0.05 is usual.
        ema: Decay per step of a running average of what is trained, which is then
            evaluated and saved in its place. 0 keeps none; 0.999 is usual.
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
        data: What to learn from: digits, folder:PATH, csv:FILE, masks:PATH,
            coco:FILE, hf-parquet:PATH, webdataset:PATH or tfds:NAME, with options as
            in csv:FILE?label=kind. folder's PATH holds train/ and test/ (or val/)
            with one folder a class, or the class folders alone. Where there is no
            test split, about a fifth is kept for testing. docs/data.md has the rest.
        task: The loss, and the weights of classes.
        sampling: shuffle shows every example once an epoch. balanced draws as many,
            but of every class as often; take it or balanced class weights, not both.
        weights: Where the network starts: resnet20-cifar10 (comes with jft), a
            checkpoint file or a folder of one, the folder of a run,
            torchvision:NAME, timm:NAME, keras:NAME, bit:NAME, hf:OWNER/REPO,
            https://...#sha256=HEX, or none for random weights. jft.convert --list
            has the names.
        freeze: What stays as it is: none, until:STAGE (that and all before it),
            from:STAGE (that and all behind it, but for the head), first:N (layers in
            depth order), all-but:STAGE, bias-only, norm-only, or PATTERN=RATE lists
            separated by commas: the first pattern that matches a parameter's name
            gives its share of the learning rate, 0 if no rate stands there; what
            none matches has the whole.
        norm: What batch normalisation does: stored (uses its stored statistics),
            batch (uses each batch's, and moves the stored ones), adapt (uses the
            stored ones while they move, for frozen stages), for all stages or as
            STAGE=MODE,... The default, auto, is stored where scale and bias are
            frozen and batch elsewhere.
        phases: What comes before the epochs under the rule of freeze:
            EPOCHS*RULE[@RATE] separated by semicolons, with that learning rate, or
            the best of several (0.01|0.1); or gradual:EPOCHS, which begins with the
            head and unfreezes a stage every so many epochs.
        epochs: Passes over the training images.
        batch_size: Images per step, over all devices.
        image_size: Side of the square image the network sees, in pixels. None
            takes the size the weights were trained at.
        label_smoothing: Share of the target spread evenly over all classes; for
            labels, moved to 1/2. None is 0.1 for cross-entropy (also that of masks),
            and 0 for focal losses. dice and numbers have none.
        dropout: Share of the features before the head that is dropped, and of a
            VGG's hidden layers.
        drop_path: Probability with which an image skips the last residual block,
            falling linearly to 0 at the first (stochastic depth). Frozen blocks are
            not skipped.
        dtype: What is computed in. Parameters, statistics and the loss are always
            float32.
        remat: Compute the activations of trained blocks again when going backward,
            instead of keeping them. On CPU it saves no memory.
        seed: Fixes the head's first values, the order of the images and their
            augmentation.
        devices: jit runs on one device, pmap on all of them, auto takes pmap if
            there are several.
        workdir: Folder of the run. None names one in runs/ after what is trained.
        workers: Processes that prepare batches. 0 uses threads.
        cache: Folder that keeps decoded and resized images for later runs. None keeps
            them in memory, if they fit.
        checkpoint_every: Steps between checkpoints within an epoch. 0 saves at the
            end of each epoch.
    """

    data: str = "digits"
    task: TaskConfig = field(default_factory=TaskConfig)
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    weights: str = BUNDLED_WEIGHTS
    model: ModelConfig = field(default_factory=ModelConfig)
    freeze: str = "until:stage2"
    norm: str = "auto"
    phases: str = ""
    epochs: int = 6
    batch_size: int = 32
    image_size: int | None = None
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
    checkpoint_every: int = 0
