"""The pages of docs/ follow from the code where they say so, and make a site without a broken link."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from zoo_runtime.words import options_from_words

HOUSE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", HOUSE / "docs" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli", "api"])
def test_reference_pages_are_those_of_this_code(page: str, reference: ModuleType) -> None:
    written = (HOUSE / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert written == getattr(reference, page)(), "run: python docs/reference.py"


def test_every_command_shows_an_example(reference: ModuleType) -> None:
    parts = reference.cli().split("\n## ")[1:]
    commands = {part.partition("\n")[0]: part.partition("```")[0].partition("\n")[2] for part in parts}
    assert {"zoo predict", "zoo train", "zoo export", "zoo data prepare"} <= commands.keys()
    assert [name for name, text in commands.items() if f"{name} " not in f"{text} "] == []


def lines_of(page: Path) -> list[list[str]]:
    """Return the words after ``zoo`` of each line of a fenced block that calls it."""
    blocks = re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    found = re.findall(r"^(?:\$ )?zoo ([a-z][^|>&\n]*)", "\n".join(blocks).replace("\\\n", " "), re.M)
    return [shlex.split(line, comments=True) for line in found if "<" not in line and "MODEL" not in line]


@pytest.mark.parametrize("page", [HOUSE / "README.md", *sorted((HOUSE / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_every_command_line_in_the_pages_is_one_that_zoo_has(page: Path, reference: ModuleType) -> None:
    group = reference.group()
    for words in lines_of(page):
        if any(word.endswith("...") or "=..." in word for word in words):
            continue  # how a command is called in general
        name = words[0] if words[0] != "data" else words[1]
        assert name in (group.commands if words[0] != "data" else group.commands["data"].commands), words
        options_from_words(group, words)


def test_there_are_such_lines() -> None:
    assert len(lines_of(HOUSE / "README.md")) > 5


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=HOUSE, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert (tmp_path / "site" / "cli" / "index.html").is_file()
