"""The sign of dipole moments that were trained by their magnitudes, which leave it open."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from zoo.models import DipoleMoment, Potential
from zoo_runtime import keys
from zoo_runtime.graph import build

# Pauling's scale; A. L. Allred, J. Inorg. Nucl. Chem. 17, 215 (1961), doi:10.1016/0022-1902(61)80142-5.
ELECTRONEGATIVITY = {
    1: 2.20, 3: 0.98, 4: 1.57, 5: 2.04, 6: 2.55, 7: 3.04, 8: 3.44, 9: 3.98,
    11: 0.93, 12: 1.31, 13: 1.61, 14: 1.90, 15: 2.19, 16: 2.58, 17: 3.16,
}  # fmt: skip


@torch.no_grad()
def orient(potential: Potential, targets: Collection[str]) -> None:
    """Make the electronegative atoms the negative ones, where training knew nothing but magnitudes of dipoles.

    The molecules of ASE's collection G2 that the network has the elements for decide together; where there is none,
    the sign stays.

    Args:
        potential: The trained network; the last layer of its latent charges may change its sign.
        targets: The outputs that it was trained on.
    """
    heads = [head for head in potential.heads.values() if isinstance(head, DipoleMoment)]
    if not heads or keys.DIPOLE in targets or keys.DIPOLE_MAGNITUDE not in targets:
        return
    from ase.collections import g2

    known = {*potential.species.tolist()} & ELECTRONEGATIVITY.keys()
    molecules = [atoms for atoms in g2 if len({*atoms.numbers}) > 1 and {*atoms.numbers} <= known]
    if not molecules:
        return
    graph = build(molecules, potential.cutoff, potential.needs_triples)
    tensors = {name: torch.from_numpy(array) for name, array in graph.tensors().items()}
    charges = potential(tensors)[keys.CHARGES].double().numpy()
    values = np.array([ELECTRONEGATIVITY[number] for number in graph.numbers])
    mean = np.bincount(graph.system, values) / np.bincount(graph.system)
    if charges @ (values - mean[graph.system]) > 0:
        for head in heads:
            for weight in head.network[-1].parameters():
                weight.neg_()
