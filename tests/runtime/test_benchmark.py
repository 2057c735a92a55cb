"""``zoo benchmark`` times what is here, in turns, and names what it could not time."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import molecule

from zoo_registry.release import Release
from zoo_runtime import Model, cli
from zoo_runtime.commands.benchmark import LEAST, WARM, measure
from zoo_runtime.graph import Graph


def test_each_backend_gets_a_row_and_a_missing_one_a_reason(
    make_release: Callable[..., Release], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = make_release()
    molecule("CH4").write(tmp_path / "methane.xyz")
    words = [f"model={release.path}", "seconds=0.01", str(tmp_path / "methane.xyz")]
    assert cli.run(["benchmark", *words]) == 0
    printed = capsys.readouterr()
    row = next(line.split() for line in printed.out.splitlines() if line.startswith("onnx"))
    assert float(row[1]) > 0
    assert float(row[2]) == pytest.approx(1e3 * float(row[1]) / 5, rel=0.1, abs=0.1)
    assert row[3] == "1.00"
    assert "CH4, 5 atoms, float32" in printed.out
    assert "torchscript: not timed" in printed.err
    assert "aoti: not timed" in printed.err


@pytest.mark.parametrize(
    ("words", "told"), [(["backend=onx"], "onnx"), (["seconds=0"], "seconds"), (["absent.xyz"], "absent.xyz")]
)
def test_wrong_words_are_one_line(
    make_release: Callable[..., Release], words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["benchmark", f"model={make_release().path}", *words]) != 0
    printed = capsys.readouterr()
    assert told in printed.err
    assert "Traceback" not in printed.err


class Clock:
    """Goes on by what the backend says that it needs."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A backend whose first calls are slow, and whose other ones take a fixed time."""

    name = description = "slow"

    def __init__(self, backend: object, clock: Clock, seconds: float) -> None:
        self.backend, self.clock, self.seconds, self.calls = backend, clock, seconds, 0

    def compute(self, graph: Graph) -> dict:
        self.calls += 1
        self.clock.now += self.seconds if self.calls > WARM else 100.0
        return self.backend.compute(graph)


def test_the_median_leaves_out_the_first_calls_and_both_take_turns(
    make_release: Callable[..., Release], backend: object
) -> None:
    clock, release = Clock(), make_release()
    slow, fast = Slow(backend, clock, 0.4), Slow(backend, clock, 0.1)
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.2]])
    timings = measure({"slow": Model(release, slow), "fast": Model(release, fast)}, atoms, 1.0, clock)
    assert timings["slow"].median == pytest.approx(0.4)
    assert timings["fast"].median == pytest.approx(0.1)
    assert timings["slow"].first == timings["fast"].first == 100.0
    assert (slow.calls, fast.calls) == (WARM + max(LEAST, 3), WARM + 10)  # who has had its time waits
    assert atoms.positions[1].tolist() == [0, 0, 1.2]
