"""``zoo.json``: the one metadata document of a release, byte-identical in every container."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
import typing
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from zoo_registry.errors import ReleaseInvalid

SCHEMA = 1
ELEMENTS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts "
    "Og"
)
MAX_ATOMIC_NUMBER = 118
NAME_PATTERN = re.compile(r"(?=.{1,100}\Z)[a-z0-9]+(-[a-z0-9]+)*")
VERSION_PATTERN = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}")
# Fields that people write, in more than one line if they like.
_TEXTS = ("description", "training")
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_LARGEST = sys.float_info.max


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
        tolerance: ``{energy, forces, …}``: how far a backend may be from golden.json, in eV/atom, eV/Å, and the
            units of other outputs that have an entry; that of forces is for the rest.
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

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

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
        for name, value in raw.items():
            if problem := next(_unprintable(value, several_lines=name in _TEXTS), None):
                raise ReleaseInvalid(f"{source}: {name} holds {problem}; export the release again.")
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
        if not isinstance(facts.get("unit"), str):
            yield f"outputs: {output!r} has no unit"
        if facts.get("per") not in ("system", "atom") or not isinstance(facts.get("shape"), list):
            yield f"outputs: {output!r} must have per 'system' or 'atom' and a list as shape"
    for metric, facts in metadata.metrics.items():
        if not _is_number(facts.get("value")) or not isinstance(facts.get("unit"), str):
            yield f"metrics: {metric!r} must have a number as value and a unit"
        if type(facts.get("n", 0)) is not int:
            yield f"metrics: n of {metric!r} must be a whole number"
    if any(value < 0 for value in metadata.tolerance.values()):
        yield f"tolerance must not be negative, got {metadata.tolerance}"
    yield from _domain_problems(metadata)
    yield from _training_problems(metadata.training)


def _domain_problems(metadata: Metadata) -> Iterator[str]:
    distances = metadata.domain.get("shortest_distance", {})
    if not isinstance(distances, dict):
        yield "domain: shortest_distance must be an object of pairs such as 'C-H' and their distances in Å"
        return
    elements = ELEMENTS.split()
    symbols = {elements[number - 1] for number in metadata.species if 0 < number <= len(elements)}
    for pair, distance in distances.items():
        ends = pair.split("-")
        if len(ends) != 2 or not symbols.issuperset(ends) or not _is_number(distance) or distance <= 0:
            yield f"domain: shortest_distance must be positive, in Å, for pairs of its species, got {pair}: {distance}"
    for size in ("smallest_system", "largest_system"):
        if not _is_number(metadata.domain.get(size, 1)):
            yield f"domain: {size} must be a number of atoms, got {metadata.domain[size]!r:.100}"
    shares = metadata.domain.get("composition", {})
    if not (isinstance(shares, dict) and symbols.issuperset(shares) and all(map(_is_range, shares.values()))):
        yield f"domain: composition must be [smallest, largest] share for symbols of its species, got {shares!r:.100}"


def _training_problems(training: dict[str, Any]) -> Iterator[str]:
    for path in (("recipe",), ("recipe", "data"), ("recipe", "data", "targets"), ("dataset_facts",)):
        found: Any = training
        for key in path:
            found = found.get(key, {}) if isinstance(found, dict) else {}
        if not isinstance(found, dict):
            yield f"training: {'.'.join(path)} must be an object, got {found!r:.100}"


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _unprintable(value: object, several_lines: bool) -> Iterator[str]:
    """What must not reach a terminal or a formula: control characters, and numbers that no float can hold."""
    if isinstance(value, str):
        hidden = (c for c in value if unicodedata.category(c) in _HIDDEN and not (several_lines and c == "\n"))
        yield from (f"the control character {character!a}" for character in hidden)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unprintable(key, False)
            yield from _unprintable(item, several_lines)
    elif isinstance(value, list):
        for item in value:
            yield from _unprintable(item, several_lines)
    elif _is_number(value) and not -_LARGEST <= typing.cast(float, value) <= _LARGEST:
        yield "a number that is not finite"
