"""zoo.json is read strictly: nothing missing, unknown, wrongly typed or impossible gets in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zoo_registry.errors import ReleaseInvalid
from zoo_registry.manifest import write_manifest
from zoo_registry.metadata import Metadata
from zoo_registry.release import open_release


def test_a_document_survives_the_round_trip_byte_for_byte(metadata: Metadata) -> None:
    document = metadata.to_json()
    assert Metadata.from_json(document) == metadata
    assert Metadata.from_json(document).to_json() == document


def test_guarantee_14_a_newer_schema_says_what_to_install(release: Path) -> None:
    raw = json.loads((release / "zoo.json").read_bytes())
    raw |= {"schema": 2, "invented_later": 1, "provenance": {"package_version": "9.1.0"}}
    (release / "zoo.json").write_text(json.dumps(raw))
    write_manifest(release)
    with pytest.raises(ReleaseInvalid, match=r"schema 2, this version reads 1; install atomzoo>=9\.1\.0"):
        open_release(release)


@pytest.mark.parametrize("field", ["name", "species", "cutoff", "outputs", "energy_reference"])
def test_a_missing_field_is_named(metadata: Metadata, field: str) -> None:
    raw = json.loads(metadata.to_json())
    del raw[field]
    with pytest.raises(ReleaseInvalid, match=f"lacks {field}"):
        Metadata.from_json(json.dumps(raw))


WRONG: list[tuple[str, Any]] = [
    ("schema", 0),
    ("schema", True),
    ("schema", "1"),
    ("name", "../evil"),
    ("name", "Upper"),
    ("name", "a--b"),
    ("name", "a\n"),
    ("name", "x" * 101),
    ("version", "1.0"),
    ("version", "01.0.0"),
    ("version", "1.0.0\n"),
    ("version", "٣.0.0"),
    ("cutoff", "5"),
    ("cutoff", True),
    ("cutoff", 0),
    ("cutoff", -1.0),
    ("cutoff", 1e999),
    ("cutoff", float("nan")),
    ("interaction_range", 1.0),
    ("species", []),
    ("species", [8, 1]),
    ("species", [1, 1]),
    ("species", [0, 1]),
    ("species", [1, 119]),
    ("species", [1.0]),
    ("species", ["H"]),
    ("charge", 0.5),
    ("spin_multiplicity", 0),
    ("dtype", "float16"),
    ("length_unit", "bohr"),
    ("neighbors", {"full": 1}),
    ("references", {"model": "10.1000/x"}),
    ("outputs", {"energy": {"dtype": "float64"}}),
    ("tolerance", {"energy": "1e-5"}),
    ("tolerance", {"energy": -1e-5}),
    ("metrics", {"test/energy_mae": {"unit": "eV"}}),
    ("metrics", {"test/energy_mae": {"value": None, "unit": "eV"}}),
    ("metrics", {"test/energy_mae": {"value": True, "unit": "eV"}}),
    ("metrics", {"test/energy_mae": {"value": 0.1}}),
    ("metrics", {"test/energy_mae": {"value": 0.1, "unit": "eV", "n": "many"}}),
    ("outputs", {"energy": {"unit": "eV", "shape": ["s"]}}),
    ("outputs", {"energy": {"unit": "eV", "shape": ["s"], "per": "mole"}}),
    ("outputs", {"energy": {"unit": "eV", "shape": "s", "per": "system"}}),
    ("outputs", {"energy": {"unit": None, "shape": ["s"], "per": "system"}}),
    ("domain", {"shortest_distance": [1.0]}),
    ("domain", {"shortest_distance": {"H": 1.0}}),
    ("domain", {"shortest_distance": {"H-C": 1.0}}),
    ("domain", {"shortest_distance": {"H-Xx": 1.0}}),
    ("domain", {"shortest_distance": {"H-O": 0}}),
    ("domain", {"shortest_distance": {"H-O": "1"}}),
    ("training", {"recipe": "schnet-qm9"}),
    ("training", {"recipe": {"data": []}}),
    ("training", {"recipe": {"data": {"targets": "U0"}}}),
    ("training", {"dataset_facts": 1}),
    ("description", "\x1b[2Jgone"),
    ("description", "\u202etxt.exe"),
    ("license", "MIT\nline"),
    ("hyperparameters", {"a": [{"\x07": 1}]}),
    ("provenance", {"torch": ["\x9b2J"]}),
    ("energy_reference", {"kind": "atoms", "values": {"1": 10**400}}),
    ("unheard_of", 1),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name_of_its_field(metadata: Metadata, field: str, value: Any) -> None:
    raw = json.loads(metadata.to_json()) | {field: value}
    with pytest.raises(ReleaseInvalid, match="NaN|Infinity" if value != value or value == 1e999 else field):
        Metadata.from_json(json.dumps(raw))


@pytest.mark.parametrize("field", ["cutoff", "tolerance", "energy_reference"])
def test_a_number_beyond_all_floats_is_refused(metadata: Metadata, field: str) -> None:
    raw = json.loads(metadata.to_json()) | {field: 7.5 if field == "cutoff" else {"energy": 7.5}}
    with pytest.raises(ReleaseInvalid, match=f"{field} holds a number that is not finite"):
        Metadata.from_json(json.dumps(raw).replace("7.5", "1e999"))


def test_facts_of_training_and_domain_that_are_true_are_read(metadata: Metadata) -> None:
    raw = json.loads(metadata.to_json()) | {"description": "two\nlines, Å", "domain": {"shortest_distance": {"H-O": 1}}}
    raw |= {"training": {"recipe": {"data": {"targets": {"energy": "U0"}}, "description": "a\nb"}}}
    assert Metadata.from_json(json.dumps(raw)).domain["shortest_distance"] == {"H-O": 1}


@pytest.mark.parametrize("document", [b"", b"<html>", b"\xff\xfe", b"[]", b"{" * 100_000, b"[" * 100_000])
def test_what_is_no_json_object_is_refused(document: bytes) -> None:
    with pytest.raises(ReleaseInvalid, match=r"zoo\.json"):
        Metadata.from_json(document)
