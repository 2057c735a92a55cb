"""Makes the files in this folder: ``python make_schnetpack_fixture.py``, with SchNetPack 2.2.0 installed.

``best_model`` is what ``torch.save`` writes of a small SchNet with random weights, as SchNetPack's training does;
``expected.json`` holds what SchNetPack computes with it in float32 and, as ``..64``, in float64, in eV and Å.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.build import molecule

CUTOFF = 5.0  # Å
ENERGY = "energy_U0"
REFERENCES = {1: -13.61312172, 6: -1029.86312267, 7: -1485.30251237, 8: -2042.61123593, 9: -2713.48485589}


def make_model(features: int, interactions: int, gaussians: int, silu: bool) -> Any:
    import schnetpack
    from schnetpack import transform
    from schnetpack.nn.activations import shifted_softplus

    torch.manual_seed(0)
    references = torch.zeros(100, dtype=torch.float64)
    for number, value in REFERENCES.items():
        references[number] = value
    model = schnetpack.model.NeuralNetworkPotential(
        representation=schnetpack.representation.SchNet(
            n_atom_basis=features,
            n_interactions=interactions,
            radial_basis=schnetpack.nn.GaussianRBF(n_rbf=gaussians, cutoff=CUTOFF),
            cutoff_fn=schnetpack.nn.CosineCutoff(CUTOFF),
        ),
        input_modules=[schnetpack.atomistic.PairwiseDistances()],
        output_modules=[
            schnetpack.atomistic.Atomwise(
                n_in=features,
                output_key=ENERGY,
                activation=torch.nn.functional.silu if silu else shifted_softplus,
            ),
            schnetpack.atomistic.Forces(energy_key=ENERGY, force_key="forces"),
        ],
        postprocessors=[
            transform.CastTo64(),
            transform.AddOffsets(
                ENERGY,
                add_mean=True,
                add_atomrefs=True,
                atomrefs=references,
                property_mean=torch.tensor([-4.2398], dtype=torch.float64),
            ),
        ],
    )
    with torch.no_grad():
        for parameter in model.parameters():  # biases start as zeros, which would hide that one is lost
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def compute(model: Any, atoms: Atoms, dtype: torch.dtype) -> tuple[float, Any]:
    import schnetpack
    from schnetpack import transform

    converter = schnetpack.interfaces.AtomsConverter(
        neighbor_list=transform.ASENeighborList(cutoff=CUTOFF), dtype=dtype, device="cpu"
    )
    result = model(converter(atoms))
    return float(result[ENERGY][0]), result["forces"].detach().numpy()


def crystal() -> Atoms:
    positions = [[0.0, 0.0, 0.0], [1.15, 0.0, 0.0], [2.8, 2.8, 2.8], [3.9, 2.9, 2.8]]
    return Atoms("COCO", positions, cell=[[5.6, 0.2, 0.0], [0.0, 5.6, 0.0], [0.4, 0.0, 5.7]], pbc=True)


def main() -> None:
    folder = Path(__file__).parent
    model = make_model(8, 2, 6, silu=True)
    torch.save(model, folder / "best_model")
    double = copy.deepcopy(model).double()
    entries = []
    for atoms in (molecule("H2O"), molecule("CH3CH2OH"), molecule("HCN"), crystal()):
        (energy, forces), (energy64, forces64) = (
            compute(network, atoms, dtype) for network, dtype in ((model, torch.float32), (double, torch.float64))
        )
        entry = {"numbers": atoms.numbers.tolist(), "positions": atoms.positions.tolist()}
        entry |= {"cell": atoms.cell.array.tolist(), "pbc": atoms.pbc.tolist()}
        entry |= {"energy": energy, "forces": forces.tolist(), "energy64": energy64, "forces64": forces64.tolist()}
        entries.append(entry)
    (folder / "expected.json").write_text(json.dumps(entries) + "\n")


if __name__ == "__main__":
    main()
