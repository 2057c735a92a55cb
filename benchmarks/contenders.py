"""What is timed: each takes a structure, or a list of them, and gives energies and forces, neighbour list included."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

Compute = Callable[[Any], tuple[float, np.ndarray]]
SKIN = 1.0  # Å
CORES = os.sched_getaffinity(0)


class EngineCalculator(Calculator):
    """The native engine with its own neighbour list."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, engine: Any, skin: float) -> None:
        super().__init__()
        self.engine, self.skin = engine, skin

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's own comparison takes longer than the energy of a small molecule."""
        old = self.atoms
        same = old is not None and all(
            np.array_equal(a, b)
            for a, b in (
                (old.positions, atoms.positions),
                (old.numbers, atoms.numbers),
                (old.cell.array, atoms.cell.array),
                (old.pbc, atoms.pbc),
            )
        )
        return [] if same else list(all_changes)

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        a = self.atoms
        outputs = self.engine.compute_structure(a.numbers, a.positions, a.cell.array, a.pbc, self.skin)
        self.results = {"energy": outputs["energy"][0], "forces": outputs["forces"]}


def through(calculator: Calculator) -> Compute:
    def compute(atoms: Atoms) -> tuple[float, np.ndarray]:
        atoms.calc = calculator
        return atoms.get_potential_energy(), atoms.get_forces()

    return compute


def by_graph(run: Callable[[Any], dict[str, Any]], cutoff: float, triples: bool) -> Compute:
    from zoo_runtime.graph import build

    def compute(atoms: Any) -> tuple[float, np.ndarray]:
        outputs = run(build(atoms if isinstance(atoms, list) else [atoms], cutoff, triples))
        return float(np.sum(outputs["energy"])), np.asarray(outputs["forces"])

    return compute


def native(path: Path, threads: int, batch: bool, skin: float = SKIN) -> Compute:
    from zoo_runtime.backends.native import NativeModel

    engine = NativeModel(path, "float32", threads)
    if threads > 1:
        engine.pin(sorted(CORES)[:threads])
    if not batch:
        return through(EngineCalculator(engine, skin))
    return by_graph(engine.compute, json.loads(engine.metadata)["hyperparameters"]["representation"]["cutoff"], False)


def potential(path: Path) -> Any:
    """The eager model with the weights of the file."""
    from safetensors import safe_open

    from zoo.models import build

    with safe_open(path, "pt") as file:
        model = build(json.loads(file.metadata()["zoo.json"])["hyperparameters"])
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return model.eval()


def eager(path: Path) -> Compute:
    import torch

    model = potential(path)

    def run(graph: Any) -> dict[str, Any]:
        outputs = model({name: torch.from_numpy(np.asarray(value)) for name, value in graph.tensors().items()})
        return {name: value.detach().numpy() for name, value in outputs.items()}

    compute = by_graph(run, model.cutoff, model.needs_triples)

    def flushed(atoms: Any) -> tuple[float, np.ndarray]:
        torch.set_flush_denormal(True)
        return compute(atoms)

    return flushed


def release(path: Path, backend: str, batch: bool) -> Compute:
    from zoo_runtime import load

    model = load(path, backend=backend, threads=1)
    if not batch:
        return through(model.calculator())

    def compute(atoms: list[Atoms]) -> tuple[float, np.ndarray]:
        predictions = model.predict(atoms)
        return sum(p.energy for p in predictions), np.concatenate([p.forces for p in predictions])

    return compute


def schnetpack(path: Path, flush: bool, batch: bool) -> Compute:
    """SchNetPack 2 through its own ASE calculator and skin list, with the same weights."""
    import schnetpack as spk
    import torch
    from schnetpack.interfaces.ase_interface import AtomsConverter, SpkCalculator

    logging.getLogger("schnetpack").setLevel(logging.ERROR)
    ours = potential(path)
    settings = ours.hyperparameters["representation"]
    features, cutoff = settings["features"], settings["cutoff"]
    representation = spk.representation.SchNet(
        n_atom_basis=features,
        n_interactions=settings["interactions"],
        radial_basis=spk.nn.GaussianRBF(settings["gaussians"], cutoff),
        cutoff_fn=spk.nn.CosineCutoff(cutoff),
    )
    model = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[
            spk.atomistic.Atomwise(features, output_key="energy", activation=spk.nn.shifted_softplus),
            spk.atomistic.Forces(),
        ],
    )
    copy_weights(ours, representation, model.output_modules[0])
    lists = spk.transform.SkinNeighborList(spk.transform.MatScipyNeighborList(cutoff), cutoff_skin=SKIN)
    if batch:
        convert = AtomsConverter(neighbor_list=spk.transform.MatScipyNeighborList(cutoff), dtype=torch.float32)

        def compute(atoms: Any) -> tuple[float, np.ndarray]:
            outputs = model(convert(atoms))
            return float(outputs["energy"].sum().detach()), outputs["forces"].detach().numpy()
    else:
        with contextlib.redirect_stdout(None):
            calculator = SpkCalculator(
                model, lists, energy_key="energy", force_key="forces", energy_unit="eV", dtype=torch.float32
            )
        compute = through(calculator)

    def timed(atoms: Any) -> tuple[float, np.ndarray]:
        torch.set_flush_denormal(flush)
        return compute(atoms)

    return timed


def copy_weights(ours: Any, representation: Any, readout: Any) -> None:
    import torch

    def copy(to: Any, source: Any) -> None:
        to.weight.copy_(source.weight)
        if to.bias is not None:
            to.bias.copy_(source.bias)

    with torch.no_grad():
        for row, z in enumerate(ours.species.tolist()):
            representation.embedding.weight[z] = ours.representation.embedding.weight[row]
        for theirs, mine in zip(representation.interactions, ours.representation.interactions, strict=True):
            copy(theirs.in2f, mine.in_features)
            for theirs_layers, mine_layers in (
                (theirs.filter_network, mine.filter_network),
                (theirs.f2out, mine.out_network),
            ):
                copy(theirs_layers[0], mine_layers[0])
                copy(theirs_layers[1], mine_layers[2])
        head = ours.heads["energy"].network
        copy(readout.outnet[0], head[0])
        copy(readout.outnet[1], head[2])
        for parameter in readout.outnet[1].parameters():
            parameter.mul_(ours.heads["energy"].scale)
