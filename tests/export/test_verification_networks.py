"""Networks that were broken on purpose fail the check that is named after what is wrong with them."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from zoo.models import schnet, wacsf
from zoo_export import release as release_module
from zoo_export.eager import Eager
from zoo_export.release import write
from zoo_export.structures import structures
from zoo_registry.errors import ExportError
from zoo_registry.release import open_release
from zoo_runtime.verification.report import Report
from zoo_runtime.verification.subject import Subject
from zoo_runtime.verification.suite import behaviour, physics


class Broken(torch.nn.Module):
    """A network with outputs that are changed."""

    def __init__(self, potential, change):
        super().__init__()
        self.potential, self.change = potential, change

    def forward(self, graph):
        outputs = self.potential(graph)
        return outputs | self.change(outputs, graph)


def wrong_force_sign(outputs, graph):
    return {"forces": -outputs["forces"]}


def transposed_stress(outputs, graph):
    """Rows before columns were exchanged: x for y."""
    return {"stress": outputs["stress"][:, [1, 0, 2]]}


def float32_references(outputs, graph):
    return {"energy": outputs["energy"].float().double(), "energies": outputs["energies"].float().double()}


def depends_on_direction(outputs, graph):
    return {"forces": outputs["forces"] * torch.tensor([1.0, 1.0, 1.001], dtype=torch.float64)}


def counts_systems(outputs, graph):
    atoms = torch.bincount(graph["system"], minlength=graph["cell"].shape[0])
    return {"energy": outputs["energy"] + 1e-3 * atoms.double().sqrt()}


def failures(made, name, change=None, checks=physics):
    model = made(name)
    reference = Eager(model.potential)
    if change:
        reference.potential = Broken(reference.potential, change)
    report = Report(name)
    checks(report, Subject(reference, model.metadata, "float64"), structures(model.metadata.species, 4.0))
    return {check.name for check in report.failed}


@pytest.mark.parametrize("name", ["schnet", "wacsf"])
@pytest.mark.parametrize(
    ("change", "checks", "expected"),
    [
        (wrong_force_sign, physics, "forces vs numerical derivative"),
        (transposed_stress, physics, "stress vs numerical strain"),
        (float32_references, behaviour, "energy resolution (references in float64)"),
        (depends_on_direction, physics, "objectivity"),
        (counts_systems, physics, "extensivity"),
    ],
)
def test_a_broken_network_fails_the_right_check(made, name, change, checks, expected):
    assert failures(made, name, checks=checks) == set()
    assert expected in failures(made, name, change, checks)


@pytest.mark.parametrize(("name", "module"), [("schnet", schnet), ("wacsf", wacsf)])
def test_a_network_without_its_cutoff_function_fails(made, monkeypatch, name, module):
    made(name)  # before the function is gone
    monkeypatch.setattr(module, "cosine_cutoff", lambda d, cutoff: (d < cutoff).to(d.dtype))
    assert {"smoothness at the cutoff", "dimer continuity C1"} <= failures(made, name)


def test_a_release_that_fails_is_written_by_force_only_and_says_so(made, tmp_path, monkeypatch):
    model = made("schnet")

    class WrongForces(Eager):
        def compute(self, graph):
            return super().compute(graph) | {"forces": -super().compute(graph)["forces"]}

    monkeypatch.setattr(release_module, "Eager", WrongForces)
    with pytest.raises(ExportError, match=r"forces vs numerical derivative \(eager float64\) deviates") as caught:
        write(copy.deepcopy(model.potential), model.metadata, tmp_path, ())
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    write(copy.deepcopy(model.potential), model.metadata, tmp_path, (), force=True)
    report = json.loads((tmp_path / "verification.json").read_text())
    assert (report["forced"], report["passed"], report["model"]) == (True, False, "schnet@1.0.0")
    text = open_release(tmp_path).file("README.md").read_text()
    assert "written by force: forces vs numerical derivative" in text
    assert "| forces vs numerical derivative | **FAIL** |" in text
