"""Progress bars on stderr; silent where stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")


def track(steps: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Yield ``steps``, showing how far it is."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(steps, total=total, description=description)
