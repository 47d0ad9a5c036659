"""Short names of options, and their names in other libraries."""

from collections.abc import Iterable

from jft.errors import nearest

# Names that work beside the dotted one.
SHORT = {
    "optim.learning-rate": ("--lr",),
    "optim.weight-decay": ("--wd",),
    "workdir": ("-o", "--output-dir"),
}
# Names in torchvision's references, timm, fastai, Hugging Face and Lightning.
ELSEWHERE = {
    "data": "data-path data-dir dataset dataset-name train-dir train-data image-folder "
    "path root num-classes validation-split val-split class-map",
    "model.name": "arch a architecture backbone model model-name network net",
    "model.decoder": "aux-loss segmentation-head",
    "weights": "pretrained pretrain initial-checkpoint pretrained-path ckpt load "
    "model-name-or-path weights-backbone load-from checkpoint-path no-pretrained",
    "freeze": "freeze-backbone freeze-layers freeze-to trainable unfreeze head-only "
    "freeze-base linear-probe feature-extract frozen",
    "phases": "freeze-epochs unfreeze-epoch gradual-unfreezing",
    "norm": "freeze-bn freeze-norm sync-bn bn bn-eval",
    "epochs": "num-epochs num-train-epochs max-epochs n-epochs nb-epochs epoch ep",
    "batch-size": "b bs batch per-device-train-batch-size train-batch-size "
    "train-bs batchsize",
    "image-size": "img-size imgsz input-size size resolution crop-size res "
    "train-crop-size img",
    "crop": "crop-mode resize-mode squish letterbox pad-mode fit",
    "label-smoothing": "smoothing label-smoothing-factor ls",
    "dropout": "drop drop-rate dropout-rate",
    "drop-path": "drop-path-rate stochastic-depth stochastic-depth-prob",
    "dtype": "amp fp16 bf16 half precision mixed-precision amp-dtype torch-dtype",
    "remat": "grad-checkpointing gradient-checkpointing",
    "seed": "random-seed manual-seed",
    "devices": "device gpus gpu ngpus accelerator distributed use-cpu no-cuda",
    "workdir": "output out out-dir save-dir logdir log-dir logging-dir exp-name "
    "experiment run-name resume resume-from-checkpoint resume-from project",
    "workers": "j num-workers dataloader-num-workers n-jobs",
    "cache": "cache-dir cache-images",
    "checkpoint-every": "save-steps save-freq save-every checkpoint-freq",
    "sampling": "sampler weighted-sampler oversample",
    "task.loss": "criterion loss-fn bce-loss",
    "task.class-weights": "class-weight pos-weight weighted-loss",
    "task.focal-gamma": "gamma",
    "optim.name": "opt optimizer optim optimiser",
    "optim.learning-rate": "base-lr lr-base max-lr lr0 blr alpha eta",
    "optim.schedule": "lr-scheduler lr-scheduler-type sched scheduler lr-schedule "
    "lr-policy",
    "optim.warmup-epochs": "warmup lr-warmup-epochs warmup-ratio warmup-steps",
    "optim.drop-epochs": "step-size lr-step-size decay-epochs patience-epochs",
    "optim.drop-factor": "lr-gamma decay-rate lr-decay",
    "optim.momentum": "beta1",
    "optim.weight-decay": "decay l2",
    "optim.decay-rules": "norm-weight-decay bias-weight-decay no-decay",
    "optim.layer-decay": "llrd layerwise-lr-decay",
    "optim.clip-norm": "clip-grad clip-grad-norm max-grad-norm gradient-clip-val clip",
    "optim.accumulate": "grad-accum-steps gradient-accumulation-steps accum-iter "
    "accumulate-grad-batches grad-accum",
    "optim.sam": "rho sam-rho",
    "optim.ema": "model-ema model-ema-decay ema-decay",
    "augment.flip": "hflip horizontal-flip random-flip fliplr",
    "augment.vertical-flip": "vflip flipud",
    "augment.resized-crop": "scale random-resized-crop",
    "augment.rotate": "degrees rotation max-rotate",
    "augment.jitter": "color-jitter colour-jitter",
    "augment.crop-padding": "padding random-crop",
    "augment.policy": "aa auto-augment autoaugment randaugment trivialaugment aug",
    "augment.erase": "reprob random-erase random-erasing erasing cutout",
    "augment.mixup": "mixup-alpha",
    "augment.cutmix": "cutmix-alpha",
    "lr-find": "lr-finder auto-lr-find find-lr",
    "dry-run": "n summary estimate",
    "config": "c cfg config-file yaml recipe",
    "tta": "test-time-augmentation augment-test",
    "which": "checkpoint epoch-name",
    "to": "format export-format target",
}

# What to know beside the name.
NOTES = {
    "resume": "run the same command again to resume",
    "resume-from-checkpoint": "run the same command again to resume",
    "pretrained": "weights are pretrained by default",
    "no-pretrained": "none gives random weights",
    "num-classes": "the classes come from the data",
}


def unknown_option(given: str, known: Iterable[str]) -> str:
    """Return the error for an option that a command does not have, as typed."""
    options, name = list(known), given.lstrip("-").replace("_", "-").lower()
    leaves = {option.lstrip("-").rpartition(".")[2]: option for option in options}
    elsewhere = {
        word: f"--{ours}" for ours, words in ELSEWHERE.items() for word in words.split()
    }
    found = leaves.get(name) or elsewhere.get(name)
    if found in options:
        note = f" ({NOTES[name]})" if name in NOTES else ""
        return f"unknown option {given}; did you mean {found}?{note}"
    near = nearest(f"--{name}", options, count=1)
    if not near:
        near = nearest(name, leaves, count=1)
    return f"unknown option {given}{near or '; --help lists the options'}"
