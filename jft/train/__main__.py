"""python -m jft.train: fine-tune a pretrained network on your images."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from jft.config import TrainConfig
from jft.console.cli import guarded, load_recipe
from jft.console.flags import Parser, filled, settings
from jft.console.status import working
from jft.errors import INTERRUPTED, InputError
from jft.train.resolve import resolve

DESCRIPTION = """Fine-tune a pretrained network on your images.

Examples
  Adapt the ResNet-20 that comes with jft to handwritten digits:
    python -m jft.train
  Your own photos, one folder per class, with ImageNet weights:
    python -m jft.train --data folder:photos --weights torchvision:resnet50
  Train the last stage and the head only, with another learning rate:
    python -m jft.train --data folder:photos --freeze until:stage3 --lr 0.01
  Learn masks, with a U-Net decoder on the network:
    python -m jft.train --data masks:cracks --image-size 192 -o runs/cracks
  Start from a recipe, change one setting, and show the cost only:
    python -m jft.train --config configs/digits.py --epochs 20 --dry-run

To resume an interrupted run, run the same command again."""
SHORT_HELP = "This is the short list. --help-all shows every setting."

GROUPS = {
    "data": (
        "data",
        "image_size",
        "crop",
        "sampling",
        "workers",
        "cache",
        "features",
        "views",
    ),
    "model": ("weights", "model.", "dropout", "drop_path"),
    "freezing": ("freeze", "norm", "phases"),
    "optimisation": (
        *("epochs", "batch_size", "optim.", "label_smoothing", "task."),
        *("dtype", "remat"),
        *("early_stop", "early_stop_metric", "early_stop_min_delta"),
    ),
    "augmentation": ("augment.",),
    "run": ("",),
}
# What most people need.
OFTEN = (
    *("data", "image_size", "weights", "model.name", "freeze", "phases"),
    *("epochs", "batch_size", "optim.name", "optim.learning_rate"),
    *("optim.weight_decay", "task.class_weights", "augment.flip"),
    *("augment.resized_crop", "augment.mixup", "workdir", "seed"),
    *("config", "dry_run", "lr_find"),
)


@dataclass(frozen=True)
class Action:
    """What the command line asks for beside the settings of a run.

    Attributes:
        config: Recipe, a Python file with `config = TrainConfig(...)`, or the
            config.json of a run. It sets the defaults; options override them.
        dry_run: Show what training would cost, and train nothing. The exit status is
            1 if a frozen part still has a backward pass.
        lr_find: Raise the learning rate step by step, plot the loss, and suggest a
            learning rate. Nothing is saved but the plot.
    """

    config: str | None = None
    dry_run: bool = False
    lr_find: bool = False


def read(args: Sequence[str]) -> tuple[Action, TrainConfig]:
    """Return what a command line asks for.

    Raises:
        InputError: The recipe cannot be used.
        SystemExit: An option is unknown, or its value has another type.
    """
    whole = "--help-all" in args
    parser = Parser("train", DESCRIPTION, "" if whole else SHORT_HELP)
    parser.add_switch("--help-all", help="Show all settings.")
    left = [*settings(Action), *settings(TrainConfig)]
    for title, names in GROUPS.items():
        chosen = [s for name in names for s in left if _belongs(s.name, name)]
        left = [setting for setting in left if setting not in chosen]
        parser.add_settings(title, chosen, None if whole else OFTEN.__contains__)
    values = parser.read(args)
    action = filled(Action(), values)
    default = TrainConfig() if action.config is None else load_recipe(action.config)
    return action, filled(default, values)


def _belongs(setting: str, name: str) -> bool:
    return setting.startswith(name) if name[-1:] in ("", ".") else setting == name


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""

    def run() -> int:
        action, config = read(sys.argv[1:] if args is None else args)
        if action.dry_run and action.lr_find:
            raise InputError("--dry-run and --lr-find: give one of them")
        if action.dry_run:
            return dry_run(config)
        return lr_find(config) if action.lr_find else train(config)

    return guarded(run)


def train(config: TrainConfig) -> int:
    """Check the configuration before JAX is imported, then train."""
    started = time.perf_counter()
    with ExitStack() as loading:
        loading.enter_context(working("loading data and weights"))
        rules = resolve(config, checked=_first_line)
        from jft.train.interrupt import Interrupted
        from jft.train.loop import run
        from jft.train.printer import Printer

        printer = Printer(ready=loading.close)
        try:
            run(rules, [printer], started=started)
        except Interrupted as stop:
            printer.close()
            print(f"{stop}; the same command resumes from there", file=sys.stderr)
            return INTERRUPTED
        finally:
            printer.close()
    return 0


def _first_line() -> None:
    """Show in a file, where no status is shown, that the command works."""
    if not sys.stdout.isatty():
        print("loading data and weights", flush=True)


def dry_run(config: TrainConfig) -> int:
    """Show what training would cost; fail if a frozen part has a backward pass."""
    with working("loading and compiling"):
        rules = resolve(config)
        from jft.train.compile import compile_train_steps, enough_memory
        from jft.train.plan import make_plan
        from jft.train.printer import print_plan
        from jft.train.setup import prepare

        setup = prepare(rules)
        with enough_memory(setup):
            plan = make_plan(setup, compile_train_steps(setup))
    print_plan(setup, plan)
    return 1 if plan.unneeded_backward else 0


def lr_find(config: TrainConfig) -> int:
    """Test learning rates; write and print what was found."""
    rules = resolve(config)
    from jft.runs.directory import RunDirectory
    from jft.train.compile import enough_memory
    from jft.train.lr_find import find_rate, plot
    from jft.train.setup import prepare

    path = rules.workdir
    with RunDirectory(path).claim(rules.config) as directory:
        with working("testing learning rates"):
            setup = prepare(rules)
            with enough_memory(setup):
                found = find_rate(setup)
        directory.write("lr_find.json", asdict(found))
        plot(found, path / "lr_find.png")
    rule = rules.phases[0].phase.freeze
    tried = f"{found.rates[0]:.1g} to {found.rates[-1]:.1g}"
    print(f"tried {len(found.rates)} learning rates from {tried}, with freeze {rule}")
    print(f"the loss over them is drawn in {path / 'lr_find.png'}")
    print(f"suggested: --optim.learning-rate {found.suggestion:.2g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
