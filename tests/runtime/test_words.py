from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer

from zoo_registry.errors import UsageError
from zoo_runtime.words import options_from_words


@pytest.fixture(scope="module")
def group() -> object:
    app = typer.Typer()
    inner = typer.Typer()

    @app.command()
    def run(
        files: list[Path],
        model: Annotated[str, typer.Option()],
        batch_size: int = 1,
        as_json: Annotated[bool, typer.Option("--json")] = False,
    ) -> None: ...

    @app.command()
    def info(model: Annotated[str, typer.Argument()], hub: str = "") -> None: ...

    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def train(recipe: Annotated[str, typer.Option()]) -> None: ...

    @inner.command()
    def prepare(root: str = "") -> None: ...

    @inner.command()
    def other() -> None: ...

    app.add_typer(inner, name="data")
    return typer.main.get_command(app)


@pytest.mark.parametrize(
    ("words", "rewritten"),
    [
        ("run model=x a.xyz b.xyz", "run --model=x a.xyz b.xyz"),
        ("run --model x a.xyz", "run --model x a.xyz"),
        ("run model=-x a.xyz", "run --model=-x a.xyz"),
        ("run model=a=b a.xyz", "run --model=a=b a.xyz"),
        ("run batch_size=3 a.xyz", "run --batch-size=3 a.xyz"),
        ("run batch-size=3 a.xyz", "run --batch-size=3 a.xyz"),
        ("run json=true a.xyz", "run --json a.xyz"),
        ("run json=no a.xyz", "run a.xyz"),
        ("run --model model=x a.xyz", "run --model model=x a.xyz"),  # the value of an option is nobody's business
        ("run --json model=x a.xyz", "run --json --model=x a.xyz"),
        ("run model=x -- model=y", "run --model=x -- model=y"),
        ("run model=x folder/T=300.xyz", "run --model=x folder/T=300.xyz"),
        ("info model=x hub=y", "info x --hub=y"),
        ("train recipe=x trainer.max_epochs=3 free=4", "train --recipe=x trainer.max_epochs=3 free=4"),
        ("data prepare root=x", "data prepare --root=x"),
        ("--help", "--help"),
        ("nothing model=x", "nothing model=x"),
    ],
)
def test_words_become_options(group: object, words: str, rewritten: str) -> None:
    assert options_from_words(group, words.split()) == rewritten.split()


def test_a_file_with_an_equals_sign_stays_a_file(
    group: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("T=300.xyz").touch()
    assert options_from_words(group, ["run", "model=x", "T=300.xyz"]) == ["run", "--model=x", "T=300.xyz"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("run modle=x a.xyz", "no option 'modle'; did you mean 'model'?"),
        ("run --json outptu=x.csv", "Allowed: batch-size, json, model"),
        ("run json=maybe", "true or false"),
        ("info modle=x", "did you mean 'model'?"),
    ],
)
def test_a_slip_names_the_close_word(group: object, words: str, text: str) -> None:
    with pytest.raises(UsageError) as failure:
        options_from_words(group, words.split())
    assert text in str(failure.value)
