"""Dipoles that were trained by their magnitudes point from the electronegative atoms to the others."""

import pytest
import torch
from ase.build import molecule

from zoo.models import build
from zoo.train.orientation import orient
from zoo_runtime.graph import build as graph_of

REPRESENTATIONS = {
    "schnet": ({"kind": "schnet", "species": [1, 6, 8], "features": 8, "interactions": 1}, "dipole_moment"),
    "wacsf": ({"kind": "wacsf", "species": [1, 6, 8], "radial": 4, "angular": 1}, "elemental_dipole_moment"),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_the_sign_does_not_depend_on_the_seed(kind: str, seed: int) -> None:
    representation, head = REPRESENTATIONS[kind]
    torch.manual_seed(seed)
    potential = build({"representation": representation, "heads": {"dipole": {"kind": head, "magnitude": True}}}).eval()
    graph = graph_of([molecule("CH3CH2OH")], potential.cutoff, potential.needs_triples)
    tensors = {name: torch.from_numpy(array) for name, array in graph.tensors().items()}
    before = potential(tensors)
    orient(potential, {"dipole": "mu", "dipole_magnitude": "mu"})
    assert torch.equal(potential(tensors)["charges"], before["charges"])  # trained on vectors: their sign is known
    orient(potential, {"dipole_magnitude": "mu"})
    after = potential(tensors)
    torch.testing.assert_close(after["dipole_magnitude"], before["dipole_magnitude"])
    torch.testing.assert_close(after["charges"].abs(), before["charges"].abs())
    with torch.no_grad():
        for weight in potential.heads["dipole"].network[-1].parameters():
            weight.neg_()
    orient(potential, {"dipole_magnitude": "mu"})
    torch.testing.assert_close(potential(tensors)["charges"], after["charges"])
