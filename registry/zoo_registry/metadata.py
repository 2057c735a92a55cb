"""``zoo.json``: the one metadata document of a release, byte-identical in every container."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from zoo_registry.errors import ReleaseInvalid

SCHEMA = 1
MAX_ATOMIC_NUMBER = 118
NAME_PATTERN = re.compile(r"(?=.{1,100}\Z)[a-z0-9]+(-[a-z0-9]+)*")
VERSION_PATTERN = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Everything that a host must know of a model, readable without running it.

    Attributes:
        name: ``arch-dataset[-variant]``, lower case.
        version: Semantic version; any change of numbers is a new version.
        architecture: Name of the network, for example ``schnet``.
        species: Atomic numbers that the model was trained on, sorted.
        inputs: Tensor name to ``{dtype, shape, unit}``.
        outputs: Tensor name to ``{dtype, shape, unit, per, gradient_of}``; ``per`` is ``system`` or ``atom``.
        cutoff: Radius of the neighbour list in Å.
        interaction_range: How far one atom's energy can see, in Å: cutoff times the number of interactions.
        neighbors: ``{full, strict, triples}``: what neighbour list the network expects.
        periodic: Whether the training data had periodic systems.
        energy_reference: ``{kind, unit, values}``; values per atomic number, added in float64.
        domain: What the training data covered: shortest distances per pair, ranges, largest system.
        training: Data set, version, sha256, split sizes, split seed and sha256, and the full recipe.
        metrics: ``"test/energy_mae"`` to ``{value, unit, n}``.
        tolerance: ``{energy, forces}``: how far a backend may be from golden.json, in eV/atom and eV/Å.
        provenance: When, by which versions and from which weights the release was made.
        hyperparameters: Enough to rebuild the network from the weights.
    """

    name: str
    version: str
    architecture: str
    description: str
    license: str
    species: list[int]
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    cutoff: float
    interaction_range: float
    neighbors: dict[str, bool]
    periodic: bool
    dtype: str
    energy_reference: dict[str, Any]
    level_of_theory: str
    hyperparameters: dict[str, Any]
    schema: int = SCHEMA
    authors: list[str] = field(default_factory=list)
    references: dict[str, list[str]] = field(default_factory=dict)
    length_unit: str = "angstrom"
    charge: int = 0
    spin_multiplicity: int = 1
    domain: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    tolerance: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the document's bytes: sorted keys, two spaces, UTF-8, no NaN."""
        text = json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"

    @classmethod
    def from_json(cls, document: bytes | str, source: str = "zoo.json") -> Metadata:
        """Read a document.

        Args:
            document: The bytes of ``zoo.json``.
            source: Where they came from, for the error text.

        Raises:
            ReleaseInvalid: Not JSON, a newer schema, or a field that is missing, unknown, of a wrong type or
                impossible.
        """
        try:
            raw = json.loads(document, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ReleaseInvalid(f"{source} is not valid JSON ({error}); fetch the release again.") from None
        if not isinstance(raw, dict):
            raise ReleaseInvalid(f"{source} must be a JSON object; fetch the release again.")
        _check_schema(raw, source)
        _check_fields(raw, cls, source)
        metadata = cls(**raw)
        for problem in _problems(metadata):
            raise ReleaseInvalid(f"{source}: {problem}; export the release again.")
        return metadata


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _check_schema(raw: dict[str, Any], source: str) -> None:
    schema = raw.get("schema")
    if type(schema) is not int or schema < 1:
        raise ReleaseInvalid(f"{source} has schema {schema!r}; expected a number from 1 to {SCHEMA}.")
    if schema > SCHEMA:
        maker = raw.get("provenance", {})
        version = maker.get("package_version") if isinstance(maker, dict) else None
        need = f"atomzoo>={version}" if version else "a newer atomzoo"
        raise ReleaseInvalid(f"{source} has schema {schema}, this version reads {SCHEMA}; install {need}.")


def _check_fields(raw: dict[str, Any], cls: type[Metadata], source: str) -> None:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    required = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(required - raw.keys()):
        raise ReleaseInvalid(f"{source} lacks {', '.join(missing)}; fetch or export the release again.")
    if unknown := sorted(raw.keys() - fields.keys()):
        raise ReleaseInvalid(f"{source} has unknown fields {', '.join(unknown)} for schema {SCHEMA}.")
    hints = typing.get_type_hints(cls)
    for name, value in raw.items():
        if not _fits(value, hints[name]):
            raise ReleaseInvalid(f"{source}: {name} must be {fields[name].type}, got {value!r:.200}.")


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value is of a type made of str, int, float, bool, list, dict and Any."""
    if hint is Any:
        return True
    kind = typing.get_origin(hint) or hint
    arguments = typing.get_args(hint)
    if kind is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    return type(value) in ((int, float) if kind is float else (kind,))


def _problems(metadata: Metadata) -> Iterator[str]:
    """What is of the right type and yet cannot be true."""
    name, version = metadata.name, metadata.version
    if not NAME_PATTERN.fullmatch(name) or not VERSION_PATTERN.fullmatch(version):
        yield (
            f"name is {name!r} and version {version!r}, allowed are lower-case words joined by '-' "
            "and a version like 1.0.0"
        )
    species = metadata.species
    if not species or species != sorted(set(species)) or species[0] < 1 or species[-1] > MAX_ATOMIC_NUMBER:
        yield f"species must be ascending atomic numbers from 1 to {MAX_ATOMIC_NUMBER}, got {species}"
    if not 0 < metadata.cutoff <= metadata.interaction_range < math.inf:
        yield (
            "cutoff and interaction_range must be 0 < cutoff <= interaction_range in Å, got "
            f"{metadata.cutoff} and {metadata.interaction_range}"
        )
    if metadata.length_unit != "angstrom":
        yield f"length_unit must be 'angstrom' in schema {SCHEMA}, got {metadata.length_unit!r}"
    if metadata.dtype not in ("float32", "float64"):
        yield f"dtype must be float32 or float64, got {metadata.dtype!r}"
    if metadata.spin_multiplicity < 1:
        yield f"spin_multiplicity is 2S + 1 and at least 1, got {metadata.spin_multiplicity}"
    for output, facts in metadata.outputs.items():
        if "unit" not in facts:
            yield f"outputs: {output!r} has no unit"
