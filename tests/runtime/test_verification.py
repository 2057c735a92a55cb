"""Every way of being wrong is found by the check that is named after it."""

from __future__ import annotations

import json
import mmap
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zoo_runtime.graph import Graph
from zoo_runtime.verification.report import Report
from zoo_runtime.verification.shapes import LARGE, large, molecules, structures
from zoo_runtime.verification.subject import Subject
from zoo_runtime.verification.suite import PHYSICS, RUNNING, behaviour, compare, physics

SPECIES = [1, 6, 8]
CUTOFF = 3.5  # Å
REFERENCE = -1000.0
Outputs = dict[str, np.ndarray]


class Pairs:
    """A smooth pair potential, the outputs of which can be spoilt."""

    name = "pairs"
    description = "pairs"

    def __init__(self, spoil: Callable[[Graph, Outputs], Outputs] = lambda graph, outputs: outputs) -> None:
        self.spoil = spoil

    def pair(self, graph: Graph, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return energy and slope of each pair."""
        strength = 0.1 + 0.01 * graph.numbers[graph.edges[0]] * graph.numbers[graph.edges[1]]
        inside = np.maximum(CUTOFF - d, 0.0)
        return 0.5 * strength * inside**3, -1.5 * strength * inside**2

    def compute(self, graph: Graph) -> Outputs:
        i, j = graph.edges
        r = graph.positions[j] + graph.shifts - graph.positions[i]
        d = np.sqrt((r * r).sum(1))
        energy, slope = self.pair(graph, d)
        n = len(graph.numbers)
        energies = np.bincount(i, energy, n) + REFERENCE * graph.numbers
        g = (slope / d)[:, None] * r
        forces = np.zeros((n, 3))
        np.add.at(forces, i, g)
        np.subtract.at(forces, j, g)
        virial = np.zeros((graph.n_systems, 3, 3))
        np.add.at(virial, graph.system[i], r[:, :, None] * g[:, None, :])
        volume = np.abs(np.linalg.det(graph.cell))[:, None, None]
        stress = np.divide(virial, volume, out=np.zeros_like(virial), where=volume > 0)
        total = np.bincount(graph.system, energies, graph.n_systems)
        return self.spoil(graph, {"energy": total, "energies": energies, "forces": forces, "stress": stress})


@pytest.fixture
def subject(make_metadata) -> Callable[..., Subject]:
    def make(backend: Any = None, dtype: str = "float64", **changes: Any) -> Subject:
        facts = {"species": SPECIES, "cutoff": CUTOFF, "interaction_range": CUTOFF} | changes
        return Subject(backend or Pairs(), make_metadata(**facts), dtype)

    return make


def failed(subject: Subject, checks: Callable[..., None] = physics) -> set[str]:
    report = Report("pairs@1.0.0")
    checks(report, subject, structures(SPECIES, CUTOFF))
    assert len(report.checks) == len(PHYSICS if checks is physics else RUNNING)
    return {check.name for check in report.failed}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_sound_potential_passes_all(subject, dtype) -> None:
    sound = subject(dtype=dtype)
    assert failed(sound) == set()
    assert failed(sound, behaviour) == set()


def wrong_sign(graph: Graph, outputs: Outputs) -> Outputs:
    return outputs | {"forces": -outputs["forces"]}


def exchanged_stress(graph: Graph, outputs: Outputs) -> Outputs:
    return outputs | {"stress": outputs["stress"][:, [1, 0, 2]][:, :, [1, 0, 2]]}


def opposite_stress(graph: Graph, outputs: Outputs) -> Outputs:
    return outputs | {"stress": -outputs["stress"]}


def field(graph: Graph, outputs: Outputs) -> Outputs:
    """A field along x: it belongs to a frame of its own."""
    pulled = 0.01 * graph.positions[:, 0]
    energy = outputs["energy"] + np.bincount(graph.system, pulled, graph.n_systems)
    return outputs | {"energy": energy, "energies": outputs["energies"] + pulled}


def handed(graph: Graph, outputs: Outputs) -> Outputs:
    """An energy that changes its sign in the mirror."""
    centers = [graph.positions[graph.system == s].mean(0) for s in range(graph.n_systems)]
    r = graph.positions - np.array(centers)[graph.system]
    twist = np.zeros(graph.n_systems)
    for s in range(graph.n_systems):
        own = r[graph.system == s]
        if len(own) >= 4:
            twist[s] = 1e-3 * np.linalg.det(own[:3])
    return outputs | {"energy": outputs["energy"] + twist}


def ordered(graph: Graph, outputs: Outputs) -> Outputs:
    first = np.searchsorted(graph.system, np.arange(graph.n_systems))
    return outputs | {"energy": outputs["energy"] + 1e-3 * graph.numbers[first]}


def intensive(graph: Graph, outputs: Outputs) -> Outputs:
    atoms = np.bincount(graph.system, minlength=graph.n_systems)
    return outputs | {"energy": outputs["energy"] + 1e-3 * atoms**0.5}


def far_sighted(graph: Graph, outputs: Outputs) -> Outputs:
    """Each atom feels the last of its system, however far it is."""
    last = np.searchsorted(graph.system, np.arange(graph.n_systems), side="right") - 1
    d = np.linalg.norm(graph.positions - graph.positions[last][graph.system], axis=1)
    return outputs | {"energies": outputs["energies"] + 1e-3 / (1 + d)}


def open_only(graph: Graph, outputs: Outputs) -> Outputs:
    """Periodic images are forgotten by the forces."""
    lone = ~np.isin(np.arange(len(graph.numbers)), graph.edges[0][(graph.shifts != 0).any(1)])
    return outputs | {"forces": outputs["forces"] * lone[:, None]}


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (wrong_sign, "forces vs numerical derivative"),
        (wrong_sign, "NVE drift"),
        (exchanged_stress, "stress vs numerical strain"),
        (opposite_stress, "stress vs numerical strain"),
        (field, "objectivity"),
        (handed, "inversion symmetry"),
        (ordered, "permutation symmetry"),
        (intensive, "extensivity"),
        (far_sighted, "locality"),
        (open_only, "forces vs numerical derivative"),
        (field, "periodicity support"),
    ],
)
def test_what_is_spoilt_fails_its_check(subject, spoil, check) -> None:
    assert check in failed(subject(Pairs(spoil)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_missing_cutoff_function_is_found(subject, dtype) -> None:
    class Cut(Pairs):
        def pair(self, graph: Graph, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return 0.1 / d, -0.1 / d**2

    assert {"smoothness at the cutoff", "dimer continuity C1"} <= failed(subject(Cut(), dtype))


def test_a_kink_of_the_energy_inside_the_cutoff_is_found(subject) -> None:
    class Kinked(Pairs):
        def pair(self, graph: Graph, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            energy, slope = super().pair(graph, d)
            return energy + 0.01 * np.abs(d - 2.5), slope + 0.01 * np.sign(d - 2.5)

    assert "dimer continuity C1" in failed(subject(Kinked()))


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"hyperparameters": {"representation": {"species": [1, 6]}}}, "species supported as stated"),
        ({"interaction_range": 1.0, "cutoff": 1.0}, "locality"),
    ],
)
def test_what_the_metadata_state_wrongly_fails_its_check(subject, changes, check) -> None:
    class Passing(Pairs):
        """Atoms hear of others through their neighbours."""

        def compute(self, graph: Graph) -> Outputs:
            outputs = super().compute(graph)
            center = np.bincount(graph.system, graph.positions[:, 0], graph.n_systems)
            return outputs | {"energies": outputs["energies"] + 1e-3 * center[graph.system]}

    assert check in failed(subject(Passing(), **changes))


def test_stated_units_that_do_not_belong_together_are_found(subject, make_metadata) -> None:
    sound = subject()
    outputs = sound.metadata.outputs | {"forces": sound.metadata.outputs["forces"] | {"unit": "hartree/bohr"}}
    assert failed(subject(outputs=outputs)) == {"unit conversion"}


def test_references_in_float32_are_found(subject) -> None:
    def rounded(graph: Graph, outputs: Outputs) -> Outputs:
        return outputs | {"energy": outputs["energy"].astype(np.float32).astype(np.float64)}

    assert "energy resolution (references in float64)" in failed(subject(Pairs(rounded), "float32"), behaviour)


def test_what_differs_in_a_batch_or_from_call_to_call_is_found(subject) -> None:
    rng = np.random.default_rng(0)

    def by_batch(graph: Graph, outputs: Outputs) -> Outputs:
        return outputs | {"energy": outputs["energy"] + 1e-3 * graph.n_systems}

    def by_chance(graph: Graph, outputs: Outputs) -> Outputs:
        return outputs | {"forces": outputs["forces"] + 1e-12 * rng.normal(size=outputs["forces"].shape)}

    assert failed(subject(Pairs(by_batch)), behaviour) == {"batch against single"}
    assert failed(subject(Pairs(by_chance)), behaviour) == {"deterministic repeat"}


def test_a_workspace_that_threads_share_is_found(subject) -> None:
    barrier = threading.Barrier(2)

    class Shared(Pairs):
        def compute(self, graph: Graph) -> Outputs:
            self.graph = graph
            if threading.current_thread() is not threading.main_thread():
                barrier.wait(10)  # until another thread has put its own graph there
            return super().compute(replace(graph, numbers=np.resize(self.graph.numbers, len(graph.numbers))))

    assert "thread safety" in failed(subject(Shared()), behaviour)


def test_memory_that_is_kept_is_found(subject) -> None:
    kept: list[mmap.mmap] = []

    def keep(graph: Graph, outputs: Outputs) -> Outputs:
        kept.append(mmap.mmap(-1, 400_000))  # fresh pages, not room that earlier tests gave back
        kept[-1].write(b"1" * 400_000)
        return outputs

    assert failed(subject(Pairs(keep)), behaviour) == {"memory leak"}


def test_another_networks_file_is_found_by_comparison(subject) -> None:
    named = structures(SPECIES, CUTOFF)
    report, reference = Report("pairs@1.0.0"), subject()

    def off(graph: Graph, outputs: Outputs) -> Outputs:
        return outputs | {"forces": outputs["forces"] + 2e-4}

    compare(report, subject(Pairs(off), "float32"), named, reference, [reference.run(a) for a in named.values()])
    assert [check.name for check in report.failed] == ["backend against backend: forces"]
    assert "pairs float32 = pairs float64" in str(report.failed[0])


def test_not_a_number_fails_and_is_valid_json(subject, tmp_path) -> None:
    report = Report("pairs@1.0.0")
    nan = Pairs(lambda graph, outputs: {name: value * np.nan for name, value in outputs.items()})
    physics(report, subject(nan), structures(SPECIES, CUTOFF))
    assert {"forces vs numerical derivative", "NVE drift", "species supported as stated"} <= {
        check.name for check in report.failed
    }
    report.write(tmp_path / "verification.json")
    document = json.loads((tmp_path / "verification.json").read_text())
    line = next(check for check in document["checks"] if check["name"] == "extensivity")
    assert (line["value"], line["passed"], line["grade"], document["passed"]) == (None, False, "F", False)


def test_a_model_without_energy_is_checked_for_what_it_has(subject) -> None:
    outputs = {"energy": subject().metadata.outputs["energy"]}
    report = Report("pairs@1.0.0")
    physics(report, subject(outputs=outputs), structures(SPECIES, CUTOFF))
    assert {check.name for check in report.checks} == {promise.name for promise in PHYSICS if not promise.energy}
    assert report.left_out["NVE drift"] == "the model has no energy"


@pytest.mark.parametrize("species", [[1, 6, 8], [14], [3, 17]])
def test_shapes_have_the_elements_asked_for_and_all_kinds_of_periodicity(species) -> None:
    named = structures(species, 5.0)
    assert {z for atoms in named.values() for z in atoms.numbers} <= set(species)
    kinds = {tuple(map(bool, atoms.pbc)) for atoms in named.values()}
    assert {(False, False, False), (True, True, True), (True, True, False), (False, False, True)} <= kinds
    assert any(np.linalg.det(atoms.cell.array) < 0 for atoms in named.values())
    crystal, repeats = large(species, 5.0)
    assert LARGE <= len(crystal) * np.prod(repeats) < 1.2 * LARGE
    assert all(len(atoms) >= 5 for atoms in molecules(species).values())
