"""The table of results: what is in the repository is what the command writes, and numbers keep their units."""

from pathlib import Path

import pytest
import typer
import yaml

from zoo import results
from zoo.cli import register
from zoo.results import Entry
from zoo_registry.errors import DataError, UsageError
from zoo_registry.units import convert
from zoo_runtime.cli import build_app

DOCS = Path(__file__).parents[2] / "docs"
QM9 = {"dataset": "qm9", "recipe": {"data": {"targets": {"energy": "U0", "dipole_magnitude": "mu"}}}}


def test_the_page_is_what_the_command_writes():
    runs = DOCS / "runs.yaml"
    entries = results.read_runs(runs) if runs.exists() else []
    assert (DOCS / "results.md").read_text(encoding="utf-8") == results.markdown(results.bundled(), entries)


def test_every_published_number_has_a_source_and_a_unit_of_its_column():
    for table in results.published():
        for row in table["published"]:
            assert row["source"].startswith("https://")
            assert row["note"]
            values = results.quoted(row, table["columns"])
            assert values.keys() == row["values"].keys()
            assert all(0 < value < 1000 for value in values.values())
        assert table["published"] or table["missing"]
    qm9, rmd17 = results.published()[:2]
    assert results.quoted(qm9["published"][0], qm9["columns"])["U0"] == pytest.approx(12)
    kgcnn = results.quoted(rmd17["published"][0], rmd17["columns"])["aspirin F"]
    assert kgcnn == pytest.approx(convert(1038.9, "kcal/mol", "eV"))


def test_errors_are_found_by_data_set_and_property_and_converted():
    metrics = {
        "test/energy_mae": {"value": 0.013, "unit": "eV", "n": 10},
        "test/dipole_magnitude_mae": {"value": 0.2081943, "unit": "e·Å", "n": 10},
        "val/energy_mae": {"value": 1.0, "unit": "eV", "n": 10},
    }
    columns = results.published()[0]["columns"]
    found = results.measured(Entry("mine", QM9, metrics, ""), columns)
    assert found == {"U0": pytest.approx(13), "mu": pytest.approx(1.0, rel=1e-6)}
    assert results.measured(Entry("mine", QM9 | {"dataset": "qm9-other"}, metrics, ""), columns) == {}
    page = results.markdown([], [Entry("mine", QM9, metrics, "a network")])
    assert "| mine | **13** | **1** |" in page
    assert "- mine: a network." in page


def test_the_command(tmp_path, capsys):
    app = build_app()
    register(app)

    def zoo(*words):
        typer.main.get_command(app).main(["benchmark-table", *words], "zoo", standalone_mode=False)

    run = {
        "name": "wacsf-mine", "training": QM9, "note": "a network",
        "metrics": {"test/energy_mae": {"value": 0.05, "unit": "eV", "n": 10}},
    }  # fmt: skip
    runs = tmp_path / "runs.yaml"
    runs.write_text(yaml.safe_dump([run]))
    (tmp_path / "none").mkdir()
    zoo(f"out={tmp_path / 'page.md'}", f"runs={runs}", f"releases={tmp_path / 'none'}")
    assert capsys.readouterr().out.split() == [str(tmp_path / "page.md"), str(tmp_path / "page.png")]
    assert "| wacsf-mine | **50** |" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert 0 < (tmp_path / "page.png").stat().st_size < 40_000
    zoo()
    assert capsys.readouterr().out.startswith("# Results")
    with pytest.raises(UsageError, match="add=FOLDER needs runs=FILE"):
        zoo(f"add={tmp_path}")
    runs.write_text("- name: x")
    with pytest.raises(DataError, match="is not a list of runs with name, training, metrics and note"):
        zoo(f"runs={runs}")
