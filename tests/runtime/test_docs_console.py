"""The console sessions in the documentation give what they show.

In the text ``...`` stands for anything. Numbers agree to the last digits that are shown; ``<!-- within 5% -->`` before
a block says how far they may be off where dynamics, which is chaotic, made them.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:<!-- within (\d+)% -->\n)?^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.-])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
DIGITS = 30  # how many units of the last digit that is shown a number may differ, from one processor to another
PAGES = ("quickstart", "simulation")


def blocks(page: str) -> list[tuple[float, str, str]]:
    text = (HOUSE / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return [(int(percent or 0) / 100, kind, inside) for percent, kind, inside in BLOCK.findall(text)]


def sessions(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield each command of a console block, without ``zoo``, with what is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        program, *words = shlex.split(line)
        assert program == "zoo"
        yield words, shown


def same_word(shown: str, found: str, relative: float) -> bool:
    numbers = NUMBER.findall(shown), NUMBER.findall(found)
    if NUMBER.sub("#", shown) != NUMBER.sub("#", found) or len(numbers[0]) != len(numbers[1]):
        return False
    for a, b in zip(*numbers, strict=True):
        digits = re.search(r"\.(\d+)", a)
        tolerance = max(DIGITS * 10.0 ** -len(digits[1]) if digits else 0.0, relative * abs(value(a)))
        if abs(value(a) - value(b)) > tolerance:
            return False
    return True


def value(number: str) -> float:
    return float(number.replace(",", ""))


def agrees(shown: list[str], found: list[str], relative: float) -> bool:
    """Return whether words are those shown, ``...`` standing for any number of them."""
    if not shown or shown[0] != "...":
        return not (shown or found) or bool(
            shown and found and same_word(shown[0], found[0], relative) and agrees(shown[1:], found[1:], relative)
        )
    return any(agrees(shown[1:], found[start:], relative) for start in range(len(found) + 1))


@pytest.mark.parametrize("page", PAGES)
def test_the_page_gives_what_it_shows(
    page: str, zoo: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_HUB", raising=False)
    monkeypatch.setattr("zoo_runtime.commands.simulation.LINE_SECONDS", float("inf"))  # no progress on slow machines
    shutil.copytree(HOUSE / "examples", tmp_path / "examples")
    names: dict[str, object] = {}
    assert blocks(page)
    for relative, kind, text in blocks(page):
        if kind == "python":
            exec(compile(text, f"{page}.md", "exec"), names)
            continue
        for words, shown in sessions(text):
            _, out, complaints = zoo(*words)
            found = f"{complaints}{out}"
            assert agrees(shown.split(), found.split(), relative), f"zoo {' '.join(words)}\n{found}"


@pytest.mark.parametrize(
    ("shown", "found", "expected"),
    [
        ("energy -4217.082151 eV", "energy  -4217.082148\neV", True),
        ("energy -4217.082151 eV", "energy -4217.083151 eV", False),
        ("steps 20,000", "steps 20,004", False),
        ("a ... d", "a b c d", True),
        ("a ... d", "a b c", False),
        ("C2H6O 19", "C2H5O 19", False),
        ("a", "a b", False),
    ],
)
def test_a_page_that_is_wrong_is_found(shown: str, found: str, expected: bool) -> None:
    assert agrees(shown.split(), found.split(), 0.0) is expected
