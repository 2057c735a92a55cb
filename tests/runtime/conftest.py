from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from zoo_registry.manifest import write_manifest
from zoo_registry.metadata import Metadata
from zoo_registry.release import Release, open_release
from zoo_runtime import Model, cli
from zoo_runtime.graph import Graph

HOUSE = Path(__file__).parents[2]
ROOTS = ("registry", "runtime", "zoo", "export")
CUTOFF = 3.0
REFERENCE = -1000.0  # eV per atom

# E = Σ_i (REFERENCE + ½ Σ_j (rc² - d_ij²)²), a pair potential that is smooth at the cutoff, as an exported graph writes
# it: every sum gathers through a table of slots whose padding points at a row of zeros.
GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
pair (double[n,3] positions, int64[2,e] edges, double[e,3] shifts, int64[n] system, double[s,3,3] cell,
      int64[n,k] edges_0_slots, int64[n,l] edges_1_slots)
  => (double[s] energy, double[n] energies, double[n,3] forces, double[s,3,3] stress)
<int64[1] zero = {0}, int64[1] one = {1}, int64 first = {0}, int64 second = {1}, double square = {9.0},
 int64[2] one_two = {1, 2}, int64[1] two_axis = {2}, int64[2] rows_of_nine = {-1, 9}, int64[3] matrices = {-1, 3, 3},
 int64[3] column_of_ones = {-1, 1, 1}, double nil = {0.0}, double unit = {1.0},
 double half = {0.5}, double two = {-2.0}, double reference = {-1000.0}, int64[4] bottom = {0, 0, 1, 0}>
{
  i = Gather (edges, first)
  j = Gather (edges, second)
  from = Gather (positions, i)
  to = Gather (positions, j)
  straight = Sub (to, from)
  r = Add (straight, shifts)
  rr = Mul (r, r)
  d2 = ReduceSum (rr, one)
  rest = Sub (square, d2)
  inside = Relu (rest)
  inside2 = Mul (inside, inside)
  pairs = Mul (inside2, half)
  padded_pairs = Pad (pairs, bottom)
  mine = Gather <axis = 0> (padded_pairs, edges_0_slots)
  sums = ReduceSum <keepdims = 0> (mine, one_two)
  energies = Add (sums, reference)
  slope = Mul (inside, two)
  g = Mul (slope, r)
  padded_g = Pad (g, bottom)
  g0 = Gather <axis = 0> (padded_g, edges_0_slots)
  g1 = Gather <axis = 0> (padded_g, edges_1_slots)
  out = ReduceSum <keepdims = 0> (g0, one)
  in = ReduceSum <keepdims = 0> (g1, one)
  forces = Sub (out, in)
  size = Shape <start = 0, end = 1> (cell)
  n_systems = Squeeze (size, zero)
  all = Range (first, n_systems, second)
  column = Unsqueeze (all, one)
  row = Unsqueeze (system, zero)
  same = Equal (column, row)
  belongs = Cast <to = 11> (same)
  energy = MatMul (belongs, energies)
  r_column = Unsqueeze (r, two_axis)
  g_row = Unsqueeze (g, one)
  products = Mul (r_column, g_row)
  nines = Reshape (products, rows_of_nine)
  padded_nines = Pad (nines, bottom)
  slots = Gather <axis = 0> (padded_nines, edges_0_slots)
  of_atoms = ReduceSum <keepdims = 0> (slots, one)
  of_systems = MatMul (belongs, of_atoms)
  virial = Reshape (of_systems, matrices)
  single_cell = Cast <to = 1> (cell)
  single_det = Det (single_cell)
  det = Cast <to = 11> (single_det)
  volume = Abs (det)
  matrix_volume = Reshape (volume, column_of_ones)
  solid = Greater (matrix_volume, nil)
  divisor = Where (solid, matrix_volume, unit)
  quotient = Div (virial, divisor)
  stress = Where (solid, quotient, nil)
}
"""


class PairPotential:
    """The same potential in numpy, as a backend."""

    name = "numpy"
    description = "numpy"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def compute(self, graph: Graph) -> dict[str, np.ndarray]:
        self.batches.append(graph.n_systems)
        i, j = graph.edges
        r = graph.positions[j] + graph.shifts - graph.positions[i]
        inside = CUTOFF**2 - (r * r).sum(axis=1)
        n = len(graph.numbers)
        energies = np.bincount(i, 0.5 * inside**2, n) + REFERENCE
        g = -2 * inside[:, None] * r
        forces = np.zeros((n, 3))
        np.add.at(forces, i, g)
        np.subtract.at(forces, j, g)
        virial = np.zeros((graph.n_systems, 3, 3))
        np.add.at(virial, graph.system[i], r[:, :, None] * g[:, None, :])
        volume = np.abs(np.linalg.det(graph.cell))[:, None, None]
        return {
            "energy": np.bincount(graph.system, energies, graph.n_systems),
            "energies": energies,
            "forces": forces,
            "stress": np.divide(virial, volume, out=np.zeros_like(virial), where=volume > 0),
        }


@pytest.fixture
def backend() -> PairPotential:
    return PairPotential()


@pytest.fixture
def make_metadata() -> Callable[..., Metadata]:
    outputs = {
        "energy": {"dtype": "float64", "shape": ["s"], "unit": "eV", "per": "system", "gradient_of": None},
        "energies": {"dtype": "float64", "shape": ["n"], "unit": "eV", "per": "atom", "gradient_of": None},
        "forces": {"dtype": "float64", "shape": ["n", 3], "unit": "eV/Å", "per": "atom", "gradient_of": "energy"},
        "stress": {"dtype": "float64", "shape": ["s", 3, 3], "unit": "eV/Å³", "per": "system", "gradient_of": "energy"},
    }

    def make(**changes: Any) -> Metadata:
        facts: dict[str, Any] = {
            "name": "pair-test",
            "version": "1.0.0",
            "architecture": "pair",
            "description": "A pair potential.",
            "license": "MIT",
            "species": [1, 6, 7, 8, 9],
            "inputs": {},
            "outputs": outputs,
            "cutoff": CUTOFF,
            "interaction_range": CUTOFF,
            "neighbors": {"full": True, "strict": True, "triples": False},
            "periodic": True,
            "dtype": "float32",
            "energy_reference": {},
            "level_of_theory": "pairs",
            "hyperparameters": {},
            "metrics": {"test/energy_mae": {"value": 0.0123, "unit": "eV", "n": 10831}},
        }
        return Metadata(**(facts | changes))

    return make


@pytest.fixture
def make_release(tmp_path: Path, make_metadata: Callable[..., Metadata]) -> Callable[..., Release]:
    """Write a release with a real model.onnx, in the layout of a hub."""

    def make(document: bytes | None = None, **changes: Any) -> Release:
        metadata = make_metadata(**changes)
        folder = tmp_path / "hub" / metadata.name / metadata.version
        folder.mkdir(parents=True)
        (folder / "zoo.json").write_bytes(metadata.to_json())
        proto = parser.parse_model(GRAPH)
        proto.metadata_props.add(key="zoo.json", value=(document or metadata.to_json()).decode())
        onnx.save(proto, folder / "model.onnx")
        write_manifest(folder)
        return open_release(folder)

    return make


SPRING = 30.0  # eV/Å²
LENGTH = 1.1  # Å


class Springs:
    """A spring of one length and strength between every two neighbours, and fixed charges of ±0.4 e, as a backend."""

    name = "springs"
    description = "springs"

    def compute(self, graph: Graph) -> dict[str, np.ndarray]:
        i, j = graph.edges
        r = graph.positions[j] + graph.shifts - graph.positions[i]
        d = np.linalg.norm(r, axis=1)
        n = len(graph.numbers)
        pull = (0.5 * SPRING * (d - LENGTH) / d)[:, None] * r  # half of the spring, for each of its two directions
        forces = np.zeros((n, 3))
        np.add.at(forces, i, pull)
        np.subtract.at(forces, j, pull)
        virial = np.zeros((graph.n_systems, 3, 3))
        np.add.at(virial, graph.system[i], r[:, :, None] * pull[:, None, :])
        volume = np.abs(np.linalg.det(graph.cell))[:, None, None]
        energies = np.bincount(i, 0.25 * SPRING * (d - LENGTH) ** 2, n)
        dipole = np.zeros((graph.n_systems, 3))
        np.add.at(dipole, graph.system, np.where(graph.numbers == 1, 0.4, -0.4)[:, None] * graph.positions)
        return {
            "energy": np.bincount(graph.system, energies, graph.n_systems),
            "energies": energies,
            "forces": forces,
            "stress": np.divide(virial, volume, out=np.zeros_like(virial), where=volume > 0),
            "dipole": dipole,
        }


@pytest.fixture
def spring(make_metadata: Callable[..., Metadata]) -> Callable[..., Model]:
    """Make a model of springs of 30 eV/Å² and 1.1 Å, with a dipole."""

    def make(**changes: Any) -> Model:
        dipole = {"dtype": "float64", "shape": ["s", 3], "unit": "e·Å", "per": "system", "gradient_of": None}
        facts = {"outputs": make_metadata().outputs | {"dipole": dipole}}
        return Model(Release(Path("nowhere"), make_metadata(**(facts | changes))), Springs())

    return make


@pytest.fixture
def make_model(backend: PairPotential, make_metadata: Callable[..., Metadata]) -> Callable[..., Model]:
    """Make a model of the pair potential."""
    return lambda **changes: Model(Release(Path("nowhere"), make_metadata(**changes)), backend)


@pytest.fixture
def pair_hub(make_release: Callable[..., Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Put pair-test on the hub, in an empty working folder."""
    made = make_release()
    monkeypatch.setenv("ZOO_HUB", str(tmp_path / "hub"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return made


@pytest.fixture
def zoo(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.run([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def checkout_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the files of a checkout that users name, and commands as ``pip install`` leaves them."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("runtime", "examples", "docs"):
        (folder / name).symlink_to(HOUSE / name)
    (folder / "bin").mkdir()
    for name, words in (("zoo", ' -c "from zoo_runtime.cli import main; main()"'), ("python", "")):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.fixture
def checkout(checkout_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in that folder, which keeps what was built in it until the end of all tests."""
    places = [str(checkout_folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(places))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(HOUSE / root) for root in ROOTS))
    monkeypatch.chdir(checkout_folder)
    return checkout_folder
