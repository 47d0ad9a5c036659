"""python -m jft.train: fine-tune a pretrained network on your images."""

import sys
from collections.abc import Sequence

import tyro

from jft.cli import guarded, load_recipe
from jft.config import TrainConfig

DESCRIPTION = """Fine-tune a pretrained network on your images.

Without arguments it adapts the bundled ResNet-20 to handwritten digits. --config
FILE.py starts from a recipe, and every other flag overrides it. The same command
again resumes an unfinished run."""


def split_recipe(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take `--config FILE` out of the arguments, since it sets all other defaults."""
    rest: list[str] = []
    recipe: str | None = None
    remaining = iter(args)
    for arg in remaining:
        name, equals, value = arg.partition("=")
        if name == "--config":
            recipe = value if equals else next(remaining, "")
        else:
            rest.append(arg)
    return recipe, rest


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    recipe, rest = split_recipe(sys.argv[1:] if args is None else args)

    def run() -> int:
        config = tyro.cli(
            TrainConfig,
            prog="python -m jft.train",
            description=DESCRIPTION,
            default=TrainConfig() if recipe is None else load_recipe(recipe),
            args=rest,
        )
        return train(config)

    return guarded(run)


def train(config: TrainConfig) -> int:
    """Check the configuration before JAX is imported, then train."""
    from jft import preflight

    config = preflight.check(config)
    from jft.console import Printer
    from jft.interrupt import Interrupted
    from jft.loop import fit

    printer = Printer()
    try:
        fit(config, printer)
    except Interrupted as stop:
        printer.close()
        print(f"{stop}; the same command goes on from there", file=sys.stderr)
        return 130
    finally:
        printer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
