"""What holds for the house as a whole: its layers, its size, its version and the commands of its README."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import zoo_registry

HOUSE = Path(__file__).parents[1]
ROOTS = [HOUSE / root for root in ("registry", "runtime", "zoo", "export")]
SOURCES = [path for root in ROOTS for suffix in ("py", "cpp", "cc", "h", "hpp") for path in root.rglob(f"*.{suffix}")]
TESTS = sorted((HOUSE / "tests").rglob("*.py"))
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def label(path: Path) -> str:
    return str(path.relative_to(HOUSE))


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".py"], ids=label)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_file_is_above_400_lines() -> None:
    lengths = {label(path): len(path.read_text(encoding="utf-8").splitlines()) for path in [*SOURCES, *TESTS]}
    assert len(lengths) > 20
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_tests_are_no_package_and_no_two_share_a_name() -> None:
    names = [path.name for path in TESTS if path.name != "conftest.py"]
    assert "__init__.py" not in names
    assert len(set(names)) == len(names)


def test_there_is_one_version_and_the_changelog_tells_of_it() -> None:
    assert zoo_registry.__version__ == PROJECT["version"]
    assert f"\n## [{PROJECT['version']}]" in (HOUSE / "CHANGELOG.md").read_text(encoding="utf-8")


LOADED = "; import sys; print(*sorted(sys.modules))"
HEAVY = {"torch", "onnx", "onnxruntime", "pytorch_lightning", "tensorboard", "ase.io"}


def modules_after(statement: str) -> set[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, ROOTS))}
    done = subprocess.run(
        [sys.executable, "-c", statement + LOADED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("module", ["zoo_runtime", "zoo_runtime.cli", "zoo.cli", "zoo_export.cli"])
def test_the_command_line_starts_without_the_heavy_libraries(module: str) -> None:
    loaded = modules_after(f"import {module}")
    assert module in loaded
    assert loaded & HEAVY == set()


def test_help_of_every_room_is_shown_without_the_heavy_libraries() -> None:
    loaded = modules_after(
        "import typer.testing, zoo_runtime.cli, zoo.cli, zoo_export.cli; app = typer.Typer(); "
        "zoo.cli.register(app); zoo_export.cli.register(app); "
        "assert typer.testing.CliRunner().invoke(app, ['--help']).exit_code == 0"
    )
    assert loaded & HEAVY == set()


def test_the_registry_stands_on_the_standard_library_alone() -> None:
    before = modules_after("pass")
    statement = "; ".join(f"import zoo_registry.{name}" for name in ("store", "units", "hubs.directory", "release"))
    news = {name.partition(".")[0] for name in modules_after(statement) - before}
    assert news - sys.stdlib_module_names == {"zoo_registry"}


@pytest.fixture
def ci(tmp_path: Path) -> Path:
    """Return a copy of ``.ci/run`` that reads the README beside it in ``tmp_path``."""
    (tmp_path / ".ci").mkdir()
    return Path(shutil.copy(HOUSE / ".ci" / "run", tmp_path / ".ci" / "run"))


def commands(script: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, "--print", name], capture_output=True, text=True, check=False)


def test_the_readme_gives_the_commands_that_ci_runs() -> None:
    for name in ("predict", "develop"):
        done = commands(HOUSE / ".ci" / "run", name)
        assert done.returncode == 0, done.stderr
        extras = {extra for group in re.findall(r"\[([\w,]+)\]", done.stdout) for extra in group.split(",")}
        assert extras <= PROJECT["optional-dependencies"].keys()
        words = shlex.split(done.stdout, comments=True)
        files = [word for word in words if re.fullmatch(r"(examples|docs|benchmarks|tests)/[\w./-]+", word)]
        assert [word for word in files if not (HOUSE / word).exists()] == []


GOOD = "# zoo\n<!-- ci: predict -->\n\n```bash\npip install .\nzoo list\n```\n```bash\nother\n```\n"


def test_ci_takes_the_block_after_the_marker_and_no_other(ci: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(GOOD)
    done = commands(ci, "predict")
    assert (done.returncode, done.stdout) == (0, "pip install .\nzoo list\n")


@pytest.mark.parametrize(
    "readme",
    [
        GOOD.replace("ci: predict", "ci: elsewhere"),
        GOOD.replace("-->\n", "-->\nSome words first.\n"),
        GOOD.replace("```bash\npip", "```\npip"),
        "<!-- ci: predict -->\n```bash\npip install .\n",
        "<!-- ci: predict -->\n```bash\n\n```\n",
        "",
    ],
    ids=["no marker", "no block", "no bash", "not closed", "empty block", "empty file"],
)
def test_ci_fails_loudly_where_the_readme_has_no_such_block(ci: Path, tmp_path: Path, readme: str) -> None:
    (tmp_path / "README.md").write_text(readme)
    done = commands(ci, "predict")
    assert done.returncode == 1
    assert "no line '<!-- ci: predict -->'" in done.stderr
