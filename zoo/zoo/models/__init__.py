"""The networks: representations and prediction blocks by name, and `build`, which joins them."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from torch import nn

from zoo.models.committee import Committee
from zoo.models.heads import (
    Atomwise,
    DipoleMoment,
    ElectronicSpatialExtent,
    ElementalAtomwise,
    ElementalDipoleMoment,
    ElementalElectronicSpatialExtent,
    Head,
)
from zoo.models.layers import Representation
from zoo.models.potential import Potential
from zoo.models.schnet import SchNet
from zoo.models.wacsf import WACSF
from zoo_registry.errors import UsageError, close_matches

M = TypeVar("M", bound=nn.Module)

REPRESENTATIONS: dict[str, type[Representation]] = {"schnet": SchNet, "wacsf": WACSF}
HEADS: dict[str, type[Head]] = {
    "atomwise": Atomwise,
    "dipole_moment": DipoleMoment,
    "electronic_spatial_extent": ElectronicSpatialExtent,
    "elemental_atomwise": ElementalAtomwise,
    "elemental_dipole_moment": ElementalDipoleMoment,
    "elemental_electronic_spatial_extent": ElementalElectronicSpatialExtent,
}


def build(hyperparameters: dict[str, Any]) -> Potential:
    """Make an untrained network.

    Args:
        hyperparameters: ``{"representation": {"kind", "species", ...}, "heads": {name: {"kind", ...}}}``; the
            remaining words are the arguments of the class of that kind. With ``"committee": M`` it is a `Committee` of
            M such networks.

    Raises:
        UsageError: Unknown kind or argument, or no species.
    """
    if "committee" in hyperparameters:
        member = {name: value for name, value in hyperparameters.items() if name != "committee"}
        return Committee([build(member) for _ in range(hyperparameters["committee"])], hyperparameters)
    representation = dict(hyperparameters["representation"])
    species = [int(z) for z in representation.pop("species", [])]
    if not species or species != sorted(set(species)) or not 1 <= species[0] <= species[-1] <= 118:
        raise UsageError(f"species is {species}; give the atomic numbers from 1 to 118 in ascending order.")
    network = _make(REPRESENTATIONS, "representation", representation, species=species)
    heads = {
        name: _make(HEADS, f"heads.{name}", dict(settings), features=network.features, species=species)
        for name, settings in hyperparameters["heads"].items()
    }
    return Potential(species, network, heads, hyperparameters)


def _make(table: dict[str, type[M]], where: str, settings: dict[str, Any], **given: Any) -> M:
    kind = settings.pop("kind", None)
    if kind not in table:
        raise UsageError(f"{where}.kind is {kind!r}{close_matches(str(kind), table)}")
    allowed = inspect.signature(table[kind]).parameters.keys() - given.keys()
    for word in settings:
        if word not in allowed:
            raise UsageError(f"{where} of kind {kind} has no setting {word!r}{close_matches(word, allowed)}")
    try:
        return table[kind](**given, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{where} of kind {kind} cannot be made from {settings}: {error}.") from None
