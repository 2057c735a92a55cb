from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLengths
from ase.io import read, write

import zoo_registry
import zoo_runtime
from zoo_registry.errors import ModelError, StructureError, UsageError
from zoo_runtime import Model
from zoo_runtime.simulate import molecular_dynamics
from zoo_runtime.simulate.log import TITLES, Averages, Row, read_log

LENGTH = 1.1  # Å, of the springs


def frames(path: Path) -> list[Atoms]:
    return read(path, ":")


def same(a: Path, b: Path) -> bool:
    one, two = frames(a), frames(b)
    return len(one) == len(two) and all(
        (x.positions == y.positions).all()
        and (x.get_momenta() == y.get_momenta()).all()
        and (x.cell.array == y.cell.array).all()
        and x.get_potential_energy() == y.get_potential_energy()
        for x, y in zip(one, two, strict=True)
    )


def crystal() -> Atoms:
    """Return fcc, which springs between nearest neighbours hold."""
    return bulk("F", "fcc", a=LENGTH * np.sqrt(2), cubic=True).repeat(2)


def triangle() -> Atoms:
    """Return a molecule whose springs are all at rest."""
    return Atoms("OH2", [(0, 0, 0), (LENGTH, 0, 0), (LENGTH / 2, LENGTH * np.sqrt(0.75), 0)])


RUNS = {
    "nve": (triangle(), {"cutoff": 3.0}, {"ensemble": "nve", "temperature": 300.0}),
    "langevin": (triangle(), {"cutoff": 3.0}, {"ensemble": "langevin", "temperature": 300.0}),
    "npt": (crystal(), {"cutoff": 1.3}, {"ensemble": "npt", "temperature": 300.0}),
}


def test_nve_keeps_energy_momentum_and_the_temperature_that_it_is_given(
    spring: Callable[..., Model], tmp_path: Path
) -> None:
    done = molecular_dynamics(
        spring(), triangle(), tmp_path / "a.traj", temperature=300, timestep=0.1, steps=4000, interval=20
    )
    assert abs(done.drift) < 0.1  # meV/atom/ps
    rows = list(read_log(done.log, before=10**9))
    total = np.array([row.potential + row.kinetic for row in rows])
    assert np.ptp(total) < 2e-3 * rows[0].kinetic
    assert rows[0].temperature == pytest.approx(300)
    assert np.abs(done.atoms.get_momenta().sum(axis=0)).max() < 1e-9
    assert np.abs(done.atoms.get_angular_momentum()).max() < 1e-6
    assert (done.first_step, done.steps) == (0, 4000)
    assert done.duration == pytest.approx(0.4)
    assert done.energy == pytest.approx(total[-1])
    assert done.temperature == pytest.approx(np.mean([row.temperature for row in rows]))


def test_the_integrator_is_of_second_order(spring: Callable[..., Model], tmp_path: Path) -> None:
    def fluctuation(timestep: float) -> float:
        steps = round(40 / timestep)
        done = molecular_dynamics(
            spring(), molecule("HF"), tmp_path / f"{timestep}.traj", temperature=300, timestep=timestep, steps=steps
        )
        rows = list(read_log(done.log, before=10**9))
        return float(np.ptp([row.potential + row.kinetic for row in rows]))

    assert fluctuation(0.5) / fluctuation(0.25) == pytest.approx(4, rel=0.15)


def test_langevin_reaches_its_temperature_whatever_the_start(spring: Callable[..., Model], tmp_path: Path) -> None:
    start = crystal()
    start.set_momenta(np.zeros((32, 3)))
    done = molecular_dynamics(
        spring(cutoff=1.3), start, tmp_path / "a.traj", ensemble="langevin", temperature=400, friction=50, steps=3200
    )
    assert done.drift is None
    late = [row for row in read_log(done.log, before=10**9) if row.time > 0.2]
    # 96 degrees of freedom, some 70 independent samples: the mean is good to 400·sqrt(2/96/70) = 7 K.
    assert np.mean([row.temperature for row in late]) == pytest.approx(400, abs=25)
    assert np.std([row.temperature for row in late]) == pytest.approx(400 * np.sqrt(2 / 96), rel=0.35)


def test_npt_moves_the_volume_to_the_pressure(spring: Callable[..., Model], tmp_path: Path) -> None:
    start = crystal()
    volume = start.get_volume()
    start.set_cell(start.cell * 1.03, scale_atoms=True)
    options = {"ensemble": "npt", "temperature": 10, "friction": 20, "timestep": 1.0, "steps": 4000, "interval": 20}
    done = molecular_dynamics(spring(cutoff=1.3), start, tmp_path / "a.traj", **options)
    late = [row for row in read_log(done.log, before=10**9) if row.time > 2]
    assert np.mean([row.volume for row in late]) == pytest.approx(volume, rel=0.01)
    assert start.get_volume() > 1.08 * volume
    modulus = 2 * np.sqrt(2) * 30 / (3 * LENGTH) / units.GPa  # of springs on fcc
    assert abs(np.mean([row.pressure for row in late])) < 0.01 * modulus


@pytest.mark.parametrize(("atoms", "model", "options"), RUNS.values(), ids=RUNS.keys())
def test_a_run_that_went_on_is_the_undisturbed_one_bit_for_bit(
    spring: Callable[..., Model], tmp_path: Path, atoms: Atoms, model: dict, options: dict
) -> None:
    whole, parts = tmp_path / "whole.traj", tmp_path / "parts.traj"
    molecular_dynamics(spring(**model), atoms, whole, steps=40, **options)
    molecular_dynamics(spring(**model), atoms, parts, steps=12, **options)
    with parts.open("ab") as stream:
        stream.write(b"half a frame")
    log = tmp_path / "parts.csv"
    log.write_text(log.read_text() + "16,0.0")
    done = molecular_dynamics(spring(**model), atoms, parts, steps=40, **options)
    assert done.first_step == 12
    assert len(frames(parts)) == 11
    assert same(whole, parts)
    assert (tmp_path / "whole.csv").read_text() == log.read_text()
    done = molecular_dynamics(spring(**model), atoms, parts, steps=40, **options)
    assert done.first_step == 40
    assert same(whole, parts)


def test_a_trajectory_of_another_run_is_never_touched(spring: Callable[..., Model], tmp_path: Path) -> None:
    path = tmp_path / "a.traj"
    molecular_dynamics(spring(), triangle(), path, steps=8)
    before = path.read_bytes()
    for atoms, options, text in (
        (triangle(), {"timestep": 0.4}, "timestep=0.5 there, 0.4 now"),
        (triangle(), {"steps": 4}, "8 steps already"),
        (molecule("NH3"), {}, "another structure"),
    ):
        with pytest.raises(UsageError, match=text):
            molecular_dynamics(spring(), atoms, path, **({"steps": 8} | options))
    assert path.read_bytes() == before
    write(tmp_path / "foreign.traj", triangle())
    with pytest.raises(UsageError, match="not written by zoo md"):
        molecular_dynamics(spring(), triangle(), tmp_path / "foreign.traj", steps=8)
    (tmp_path / "text.traj").write_text("no trajectory")
    with pytest.raises(UsageError, match="cannot be read"):
        molecular_dynamics(spring(), triangle(), tmp_path / "text.traj", steps=8)
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="no log"):
        molecular_dynamics(spring(), triangle(), tmp_path / "b.traj", steps=8)


def test_only_the_same_start_goes_on(spring: Callable[..., Model], tmp_path: Path) -> None:
    path = tmp_path / "a.traj"
    start = triangle()
    start.set_momenta(np.random.default_rng(0).standard_normal((3, 3)))
    molecular_dynamics(spring(), start, path, steps=8)
    before = path.read_bytes()
    changed = {name: start.copy() for name in ("cell", "pbc", "masses", "constraints", "momenta")}
    changed["cell"].set_cell([9, 9, 9])
    changed["pbc"].pbc = True
    changed["masses"].set_masses([16, 2, 2])
    changed["constraints"].set_constraint(FixAtoms([0]))
    changed["momenta"].set_momenta(-start.get_momenta())
    for name, atoms in changed.items():
        with pytest.raises(UsageError, match=rf"another structure \(other {name}\)"):
            molecular_dynamics(spring(), atoms, path, steps=16)
    with pytest.raises(UsageError, match="weights=None there, ab now"):
        molecular_dynamics(spring(provenance={"weights_sha256": "ab"}), start, path, steps=16)
    assert path.read_bytes() == before
    assert molecular_dynamics(spring(), start, path, steps=16).first_step == 8


@pytest.mark.parametrize("constraint", [FixAtoms([0]), FixBondLengths([[0, 1]])], ids=["atoms", "bonds"])
def test_a_run_with_constraints_goes_on(
    spring: Callable[..., Model], tmp_path: Path, constraint: FixAtoms | FixBondLengths
) -> None:
    atoms = triangle()
    atoms.set_constraint(constraint)
    molecular_dynamics(spring(), atoms, tmp_path / "a.traj", temperature=100, steps=8)
    done = molecular_dynamics(spring(), atoms, tmp_path / "a.traj", temperature=100, steps=16)
    assert done.first_step == 8
    if isinstance(constraint, FixAtoms):
        assert (done.atoms.positions[0] == atoms.positions[0]).all()
    else:
        assert done.atoms.get_distance(0, 1) == pytest.approx(LENGTH, abs=1e-6)


def test_constraints_that_an_ensemble_cannot_keep_are_refused(spring: Callable[..., Model], tmp_path: Path) -> None:
    for atoms, constraint, ensemble in (
        (crystal(), FixAtoms([0]), "npt"),
        (triangle(), FixBondLengths([[0, 1]]), "langevin"),
    ):
        atoms.set_constraint(constraint)
        with pytest.raises(
            UsageError, match=f"ensemble={ensemble} cannot keep the constraint {type(constraint).__name__}"
        ):
            molecular_dynamics(spring(cutoff=1.3), atoms, tmp_path / "a.traj", ensemble=ensemble, steps=4)
    assert list(tmp_path.iterdir()) == []
    atoms = triangle()
    atoms.set_constraint(FixAtoms([0]))
    done = molecular_dynamics(spring(), atoms, tmp_path / "a.traj", ensemble="langevin", steps=40)
    assert (done.atoms.positions[0] == atoms.positions[0]).all()


def test_a_log_of_another_run_is_never_touched(spring: Callable[..., Model], tmp_path: Path) -> None:
    log = tmp_path / "shared.csv"
    molecular_dynamics(spring(), triangle(), tmp_path / "a.traj", log=log, steps=8)
    good = log.read_bytes()
    with pytest.raises(UsageError, match="belongs to another run"):
        molecular_dynamics(spring(), triangle(), tmp_path / "b.traj", log=log, steps=8)
    assert log.read_bytes() == good
    lines = good.splitlines()
    for bad in (
        b"\xff\xfe\x00" * 9,
        good.replace(b"4,", b"four,", 1),
        b"\n".join([lines[0], b"0,0,,1,1,,"]),
        b"\n".join([lines[0], b"0,0,x,1,1,,"]),
    ):
        log.write_bytes(bad)
        for name in ("a.traj", "b.traj"):
            with pytest.raises(UsageError, match=r"no log of zoo md|another run"):
                molecular_dynamics(spring(), triangle(), tmp_path / name, log=log, steps=8)
        assert log.read_bytes() == bad
    assert not (tmp_path / "b.traj").exists()


def test_velocities_of_the_structure_are_kept_unless_a_temperature_is_asked_for(
    spring: Callable[..., Model], tmp_path: Path
) -> None:
    atoms = molecular_dynamics(spring(), triangle(), tmp_path / "a.traj", steps=40).atoms
    kept = molecular_dynamics(spring(), atoms, tmp_path / "b.traj", steps=0).atoms
    np.testing.assert_allclose(kept.get_momenta(), atoms.get_momenta(), atol=1e-12)
    drawn = molecular_dynamics(spring(), atoms, tmp_path / "c.traj", temperature=300, steps=0).atoms
    assert np.abs(drawn.get_momenta() - atoms.get_momenta()).max() > 0.1
    other = molecular_dynamics(spring(), triangle(), tmp_path / "d.traj", seed=1, steps=0).atoms
    assert np.abs(drawn.get_momenta() - other.get_momenta()).max() > 0.1


class Breaking:
    """Springs whose energy is not a number after some calls."""

    name = description = "breaking"

    def __init__(self, backend: object, calls: int) -> None:
        self.backend, self.calls = backend, calls

    def compute(self, graph: object) -> dict[str, np.ndarray]:
        self.calls -= 1
        values = self.backend.compute(graph)
        return values if self.calls >= 0 else values | {"energy": values["energy"] * np.nan}


def test_a_run_stops_where_the_energy_is_no_number_and_keeps_what_it_has(
    spring: Callable[..., Model], tmp_path: Path
) -> None:
    path = tmp_path / "a.traj"
    model = spring()
    model.backend = Breaking(model.backend, 15)
    with pytest.raises(StructureError, match=r"between steps 12 and 16.*not a finite number.*a.traj is good"):
        molecular_dynamics(model, triangle(), path, steps=40)
    assert [atoms.info["zoo_md"]["step"] for atoms in frames(path)] == [0, 4, 8, 12]
    molecular_dynamics(spring(), triangle(), path, steps=40)
    molecular_dynamics(spring(), triangle(), tmp_path / "b.traj", steps=40)
    assert same(path, tmp_path / "b.traj")


def test_a_run_stops_where_atoms_meet(spring: Callable[..., Model], tmp_path: Path) -> None:
    atoms = triangle()
    velocities = np.zeros((3, 3))
    velocities[1] = (atoms.positions[0] - atoms.positions[1]) * 5
    atoms.set_velocities(velocities)
    with pytest.raises(StructureError, match="Å apart"):
        molecular_dynamics(spring(), atoms, tmp_path / "a.traj", timestep=0.5, steps=400)


def test_what_cannot_be_run_is_refused_before_any_file(
    spring: Callable[..., Model], make_metadata: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "a.traj"
    for options, text in (
        ({"ensemble": "nvt"}, "did you mean 'npt|did you mean 'nve"),
        ({"timestep": 0.0}, "timestep"),
        ({"steps": 10}, "multiple of interval=4"),
        ({"temperature": -1.0}, "temperature"),
        ({"friction": float("nan")}, "friction"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(UsageError, match=text):
            molecular_dynamics(spring(), triangle(), path, **options)
    with pytest.raises(StructureError, match="periodic in three"):
        molecular_dynamics(spring(), triangle(), path, ensemble="npt")
    outputs = {name: make_metadata().outputs[name] for name in ("energy", "forces")}
    with pytest.raises(ModelError, match="no stress"):
        molecular_dynamics(spring(outputs=outputs), crystal(), path, ensemble="npt")
    with pytest.raises(UsageError, match=r"must end in \.traj"):
        molecular_dynamics(spring(), triangle(), tmp_path / "a.xyz")
    with pytest.raises(UsageError, match="cannot be written"):
        molecular_dynamics(spring(), triangle(), tmp_path / "no" / "a.traj", steps=4)
    assert list(tmp_path.iterdir()) == []


def test_drift_is_the_slope_of_the_total_energy() -> None:
    averages = Averages(2)
    for step in range(50):
        time_ps = 0.01 * step
        averages.add(Row(step, time_ps, -4000 + 0.003 * time_ps, 0.5 + (-1) ** step * 1e-9, 300.0))
    assert averages.drift() == pytest.approx(1.5, abs=1e-4)
    assert averages.temperature() == pytest.approx((300, 0))


def test_the_command_goes_on_and_tells_figures_with_units(zoo: Callable, pair_hub: object) -> None:
    write("c.xyz", bulk("C", cubic=True))
    words = ["md", "model=pair-test", "c.xyz", "temperature=300", "timestep=0.1"]
    code, out, err = zoo(*words, "steps=8")
    assert code == 0
    for text in ("K, standard deviation", "meV/atom/ps", "ns/day", "md.traj", "md.csv"):
        assert text in out
    assert err == ""
    code, out, _ = zoo(*words, "steps=16", "--json")
    told = json.loads(out)
    assert (code, told["first_step"], told["steps"]) == (0, 8, 16)
    assert told["drift"]["unit"] == "meV/atom/ps"
    assert told["model"] == "pair-test@1.0.0"
    with Path("md.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == list(TITLES.values())
    assert [int(row["step"]) for row in table] == [0, 4, 8, 12, 16]
    code, out, err = zoo(*words, "steps=16", "seed=3")
    assert (code, out) == (2, "")
    assert "seed=0 there, 3 now" in err
    assert zoo("md", "model=pair-test", "md.traj")[0] == 2


def started(words: list[str]) -> subprocess.Popen:
    roots = [str(Path(module.__file__).parents[1]) for module in (zoo_runtime, zoo_registry)]
    return subprocess.Popen(
        [sys.executable, "-c", "from zoo_runtime.cli import main; main()", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def child() -> Iterator[list[subprocess.Popen]]:
    children: list[subprocess.Popen] = []
    yield children
    for process in children:
        process.kill()
        process.communicate()


def test_a_killed_run_loses_at_most_one_interval(zoo: Callable, pair_hub: object, child: list) -> None:
    atoms = bulk("C", cubic=True)
    write("c.traj", atoms)
    words = ["md", "model=pair-test", "c.traj", "temperature=300", "timestep=0.1", "threads=1"]
    process = started([*words, "steps=400000"])
    child.append(process)
    log = Path("md.csv")
    while not (log.exists() and len(log.read_text(encoding="utf-8").splitlines()) > 20):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    logged = len(log.read_text(encoding="utf-8").splitlines()) - 2  # without the title and step 0
    kept = len(frames(Path("md.traj"))) - 1
    assert kept >= logged >= 19
    steps = 4 * (kept + 10)
    assert zoo(*words, f"steps={steps}")[0] == 0
    assert zoo(*words, f"steps={steps}", "trajectory=whole.traj")[0] == 0
    assert same(Path("md.traj"), Path("whole.traj"))
