"""python -m jft.train: fine-tune a pretrained network on your images."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import tyro

from jft.config import TrainConfig
from jft.console.cli import guarded, load_recipe
from jft.errors import InputError

DESCRIPTION = """Fine-tune a pretrained network on your images.

Without arguments it adapts the bundled ResNet-20 to handwritten digits. --config
FILE.py starts from a recipe, and every other flag overrides it. The same command
again resumes an unfinished run.

--dry-run shows what training would cost, and trains nothing; it fails if a frozen part
has a living backward pass. --lr-find raises the learning rate step by step, draws the
loss, and suggests a rate."""


@dataclass(frozen=True)
class Action:
    """What the command line asks for beside the rules of a run.

    Attributes:
        recipe: File that sets the defaults of all rules.
        dry_run: Show what it would cost, and train nothing.
        lr_find: Test learning rates, and train nothing else.
    """

    recipe: str | None = None
    dry_run: bool = False
    lr_find: bool = False


def split_action(args: Sequence[str]) -> tuple[Action, list[str]]:
    """Take out of the arguments what is no rule of the run."""
    rest: list[str] = []
    found: dict[str, Any] = {}
    remaining = iter(args)
    for arg in remaining:
        name, equals, value = arg.partition("=")
        if name == "--config":
            found["recipe"] = value if equals else next(remaining, "")
        elif arg in ("--dry-run", "--lr-find"):
            found[arg[2:].replace("-", "_")] = True
        else:
            rest.append(arg)
    return Action(**found), rest


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    action, rest = split_action(sys.argv[1:] if args is None else args)

    def run() -> int:
        if action.dry_run and action.lr_find:
            raise InputError("--dry-run and --lr-find: give one of them")
        recipe = action.recipe
        config = tyro.cli(
            TrainConfig,
            prog="python -m jft.train",
            description=DESCRIPTION,
            default=TrainConfig() if recipe is None else load_recipe(recipe),
            args=rest,
        )
        if action.dry_run:
            return dry_run(config)
        return lr_find(config) if action.lr_find else train(config)

    return guarded(run)


def train(config: TrainConfig) -> int:
    """Check the configuration before JAX is imported, then train."""
    from jft.train import preflight

    config = preflight.check(config)
    from jft.train.interrupt import Interrupted
    from jft.train.loop import fit
    from jft.train.printer import Printer

    printer = Printer()
    try:
        fit(config, callbacks=[printer])
    except Interrupted as stop:
        printer.close()
        print(f"{stop}; the same command goes on from there", file=sys.stderr)
        return 130
    finally:
        printer.close()
    return 0


def dry_run(config: TrainConfig) -> int:
    """Show what training would cost; fail if a frozen part is alive."""
    from jft.train import preflight

    config = preflight.check(config)
    from jft.train.plan import make_plan
    from jft.train.printer import print_plan
    from jft.train.setup import enough_memory, prepare

    setup = prepare(config)
    with enough_memory(setup):
        plan = make_plan(setup, setup.compile_train_steps())
    print_plan(setup, plan)
    return 1 if plan.alive else 0


def lr_find(config: TrainConfig) -> int:
    """Test learning rates; write and print what was found."""
    from jft.train import preflight

    config = preflight.check(config)
    from jft.runs.directory import RunDirectory
    from jft.train.lr_find import find_rate, plot
    from jft.train.preflight import workdir_of
    from jft.train.setup import enough_memory, prepare

    path = workdir_of(config)
    with RunDirectory(path).claim(config) as directory:
        setup = prepare(config)
        with enough_memory(setup):
            found = find_rate(setup)
        directory.write("lr_find.json", asdict(found))
        plot(found, path / "lr_find.png")
    rule = setup.start.legs[0].phase.freeze
    tried = f"{found.rates[0]:.1g} to {found.rates[-1]:.1g}"
    print(f"tried {len(found.rates)} learning rates from {tried}, with freeze {rule}")
    print(f"the loss over them is drawn in {path / 'lr_find.png'}")
    print(f"suggested: --optim.learning-rate {found.suggestion:.2g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
