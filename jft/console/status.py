"""A line on the terminal while something takes time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)


@contextmanager
def working(
    text: str, total: int | None = None, *, in_bytes: bool = False
) -> Iterator[Callable[..., Any]]:
    """Show what is under way on standard error, if that is a terminal, until the end.

    Args:
        text: What is done.
        total: Number of things to do, for a bar; None shows a spinner.
        in_bytes: They are bytes, which are shown with their rate.

    Yields:
        The function that changes the line: `update(description="compiling")` or
        `update(advance=1)`.
    """
    console = Console(stderr=True, emoji=False)
    bar: list[ProgressColumn] = [BarColumn(), MofNCompleteColumn()] if total else []
    if in_bytes:
        bar = [BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        *bar,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # What a command prints goes to standard output, not through this console.
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal,
    ) as progress:
        yield partial(progress.update, progress.add_task(text, total=total))
