"""docs/hosts.md works as it is written: each section is pasted, block by block, into one folder."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)[ ]?([\w.]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = (HOUSE / "docs" / "hosts.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: BLOCK.findall(part) for part in TEXT.split("\n## ")[1:]}

# What a section needs beyond the package: commands, and modules of Python.
NEEDS = {
    "ASE": (),
    "Command line": (),
    "Python": (),
    "C and C++": ("cmake", "c++", "cc", "pkg-config"),
    "LAMMPS": ("cmake", "c++", "lammps", "mpirun"),
    "i-PI": ("i-pi",),
    "ASE over a socket": (),
    "libtorch": ("cmake", "c++", "torch"),
    "ONNX Runtime": ("cmake", "c++", "onnxruntime"),
}


def installed(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None  # a mere folder has none


def test_every_host_has_a_section_and_every_section_something_to_paste() -> None:
    assert SECTIONS.keys() == NEEDS.keys()
    assert all(any(language in ("bash", "python") for language, *_ in blocks) for blocks in SECTIONS.values())


@pytest.mark.parametrize("section", SECTIONS)
def test_it_works_as_it_is_written(section: str, checkout: Path) -> None:
    missing = [need for need in NEEDS[section] if not (shutil.which(need) or installed(need))]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    printed = ""
    for language, file, text in SECTIONS[section]:
        if file:
            (checkout / file).write_text(text, encoding="utf-8")
            continue
        words = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}
        if language in words:
            done = subprocess.run([*words[language], text], capture_output=True, text=True, check=False, timeout=600)
            assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            printed += done.stdout
    assert printed
