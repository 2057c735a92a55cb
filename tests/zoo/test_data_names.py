"""Every data set has a name that finds it and facts that say what it is."""

import json

import pytest

from zoo.data import DATASETS, dataset
from zoo.data.md17 import COUPLED_CLUSTER, DFT, FORMULAS
from zoo_registry.errors import DataError, UsageError


def test_every_name_is_a_data_set_that_says_what_it_is():
    for name in DATASETS:
        data = dataset(name)
        facts = data.metadata()
        assert facts["name"] == name
        assert json.loads(json.dumps(facts)) == facts
        assert data.citation.startswith("doi:10.")
        assert all((data.license, data.level_of_theory, data.description, data.sources))
        assert all(what["unit"] for what in facts["properties"].values())
    assert {
        name.removeprefix("md17-") for name in DATASETS if name.startswith("md17-")
    } == DFT.keys() | COUPLED_CLUSTER.keys()
    assert {name.removeprefix("rmd17-") for name in DATASETS if name.startswith("rmd17-")} == FORMULAS.keys()
    with pytest.raises(UsageError, match="did you mean 'rmd17-aspirin'"):
        dataset("rmd17-asprin")
    with pytest.raises(DataError, match="There is no 'nowhere'; source must be the path of"):
        dataset("ani1").prepare(".", "nowhere")
