"""A recipe: everything that decides a training run, as one checked YAML document."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoo_registry.errors import UsageError, close_matches

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A part of a recipe; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Data(Section):
    """Which data set, how it is split, and what is learned from it."""

    dataset: str
    root: str = Field(default="data", description="folder that holds the prepared data sets")
    source: str | None = Field(default=None, description="local file or folder to prepare from instead of a download")
    split: str | None = Field(None, description="a published split of the data set to draw within, for example split-1")
    n_train: Positive
    n_val: Positive
    n_test: Positive | None = Field(default=None, description="test systems; null takes the rest")
    split_seed: Seed | None = Field(default=None, description="seed of the split; null takes that of the run")
    targets: dict[str, str] = Field(min_length=1, description="model output to property of the data set")


class Model(Section):
    """Hyperparameters of ``zoo.models.build``."""

    representation: dict[str, Any]
    heads: dict[str, dict[str, Any]] = Field(min_length=1)


class Loss(Section):
    """One term of the loss: weight times the mean over all components of f(prediction - target).

    The difference is in the unit of the property (divided by the number of atoms if ``per_atom``);
    ``beta``, in the same unit, is where smooth_l1 turns from quadratic to linear. ``weights`` names a property of the
    data set, one number for each system or each atom, that multiplies f: 0 leaves a label out of this term.
    """

    weight: NotNegative = 1.0
    kind: Literal["mse", "mae", "smooth_l1"] = "mse"
    beta: PositiveFloat = 1.0
    per_atom: bool = False
    weights: str | None = None


class Optimizer(Section):
    """Adam or AdamW."""

    kind: Literal["adam", "adamw"] = "adamw"
    lr: PositiveFloat = 5e-4
    weight_decay: NotNegative = 0.01


class Schedule(Section):
    """How the learning rate changes.

    ``cosine`` and ``onecycle`` run over the planned number of steps; ``plateau`` multiplies by ``factor``
    after ``patience`` validations without progress. ``warmup`` counts steps; ``onecycle`` rises for the
    fraction ``rise`` of all steps. ``min_lr`` is where cosine, onecycle and plateau end.
    """

    kind: Literal["constant", "cosine", "onecycle", "plateau"] = "cosine"
    warmup: Annotated[int, Field(ge=0)] = 0
    rise: Fraction = 0.3
    min_lr: NotNegative = 1e-6
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Positive = 25

    @model_validator(mode="after")
    def _warmup_needs_steps(self) -> Schedule:
        if self.warmup and self.kind in ("plateau", "onecycle"):
            raise ValueError(f"warmup is for constant and cosine, not {self.kind}; set schedule.warmup=0")
        return self


class Ema(Section):
    """Exponential moving average of the weights, used for validation and for the released model."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999


class EarlyStopping(Section):
    """Stop after ``patience`` validations in which the loss fell by less than ``min_delta``."""

    patience: Positive = 50
    min_delta: NotNegative = 0.0


class Trainer(Section):
    """The loop, the machine, and when to stop."""

    max_epochs: Positive = 300
    max_time: PositiveFloat | None = Field(
        default=None, description="minutes; the run stops after the last epoch that fits, the same command continues it"
    )
    batch_size: Positive = 100
    eval_batch_size: Positive = 1000
    gradient_clip: NotNegative = Field(default=0.0, description="largest norm of the gradient; 0 does not clip")
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Positive | Literal["auto"] = 1
    num_nodes: Positive = 1
    strategy: str = "auto"
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"
    num_workers: Annotated[int, Field(ge=0)] = 0
    early_stopping: EarlyStopping | None = None
    check_val_every: Positive = Field(default=1, description="epochs between validations")
    compile: bool = Field(default=False, description="compile the network with torch.compile")
    tabulate: bool = Field(
        default=True, description="train a SchNet in float32 on a CPU with tabulated filters, several times faster"
    )
    deterministic: bool = Field(default=False, description="only algorithms that repeat bit by bit, also on a GPU")
    loggers: tuple[Literal["csv", "tensorboard", "wandb", "mlflow"], ...] = ("csv", "tensorboard")
    tf32: bool = Field(default=False, description="let CUDA round matrix products to TensorFloat-32")
    threads: Positive | None = Field(default=None, description="CPU threads of a process; null leaves PyTorch's choice")


class Recipe(Section):
    """A whole training run. ``Recipe.model_json_schema()`` is its JSON schema."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    description: str = ""
    seed: Seed = 0
    ensemble: Positive = Field(
        default=1, description="networks of a committee, one after another from seed, seed + 1, ..."
    )
    init: str | None = Field(default=None, description="release, run folder or checkpoint whose weights to start from")
    data: Data
    references: Literal["dataset", "fit", "none"] = Field(
        default="dataset", description="energies of single atoms: from the data set, by least squares, or none"
    )
    model: Model
    loss: dict[str, Loss] = Field(min_length=1)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    ema: Ema | None = Ema()
    trainer: Trainer = Trainer()
    out: str | None = Field(default=None, description="run folder; null means runs/<name>")

    @model_validator(mode="after")
    def _outputs_agree(self) -> Recipe:
        for output in self.loss:
            if output not in self.data.targets:
                raise ValueError(
                    f"loss.{output} has no target in data.targets{close_matches(output, self.data.targets)}"
                )
        if missing := sorted(self.data.targets.keys() - self.loss.keys()):
            raise ValueError(f"data.targets.{missing[0]} has no loss; add loss.{missing[0]}")
        if self.trainer.check_val_every > self.trainer.max_epochs:
            raise ValueError("trainer.check_val_every is above trainer.max_epochs, so nothing would be validated")
        if self.schedule.min_lr > self.optimizer.lr:
            raise ValueError(f"schedule.min_lr={self.schedule.min_lr} is above optimizer.lr={self.optimizer.lr}")
        return self

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out or f"runs/{self.name}")

    @property
    def split_seed(self) -> int:
        """Seed of the split, which all members of a committee share."""
        return self.seed if self.data.split_seed is None else self.data.split_seed

    @property
    def properties(self) -> list[str]:
        """The properties of the data set that a batch must hold: targets, and weights of the loss."""
        weights = [term.weights for term in self.loss.values() if term.weights is not None]
        return list(dict.fromkeys([*self.data.targets.values(), *weights]))

    def member(self, k: int) -> Recipe:
        """Return the recipe of member k of a committee: its own random numbers and folder, the common split."""
        data = self.data.model_copy(update={"split_seed": self.split_seed})
        changes = {
            "ensemble": 1,
            "seed": (self.seed + k) % 2**32,
            "data": data,
            "out": str(self.folder / f"member-{k}"),
        }
        return self.model_copy(update=changes)


def list_recipes() -> list[str]:
    """Return the names of the packaged recipes."""
    files = resources.files("zoo").joinpath("recipes").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def load_recipe(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a packaged recipe or a YAML file and check it.

    Args:
        name_or_path: Name of a packaged recipe, or path of a ``.yaml`` file.
        overrides: Dotted key to new value, e.g. ``{"trainer.max_epochs": "5"}``; values are YAML.

    Raises:
        UsageError: No such recipe, not YAML, or an unknown key or value.
    """
    document = _read(name_or_path)
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    return parse_recipe(document)


def parse_recipe(document: Mapping[str, Any]) -> Recipe:
    """Check a recipe that was read from somewhere.

    Raises:
        UsageError: With the dotted key, what was given and what is allowed.
    """
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise UsageError(_explain(error)) from None


def _read(name_or_path: str) -> dict[str, Any]:
    is_file = name_or_path.endswith((".yaml", ".yml"))
    if not is_file and name_or_path not in list_recipes():
        hint = close_matches(name_or_path, list_recipes())
        raise UsageError(f"There is no recipe {name_or_path!r}{hint}; or give the path of a .yaml file.")
    try:
        packaged = resources.files("zoo").joinpath("recipes", f"{name_or_path}.yaml")
        document = yaml.safe_load((Path(name_or_path) if is_file else packaged).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"The recipe {name_or_path} cannot be read: {reason}") from None
    if not isinstance(document, dict):
        raise UsageError(
            f"The recipe {name_or_path} must be a YAML mapping; allowed keys: {', '.join(Recipe.model_fields)}."
        )
    return document


def _override(document: dict[str, Any], key: str, value: str) -> None:
    *parents, leaf = key.split(".")
    at: Any = document
    for part in parents:
        if isinstance(at, dict) and at.get(part) is None:
            at[part] = {}
        at = at[part] if isinstance(at, dict) else None
    if not isinstance(at, dict):
        raise UsageError(f"{key!r} cannot be set: {'.'.join(parents)!r} is a single value{_hint(key)}")
    try:
        at[leaf] = _scalar(value)
    except yaml.YAMLError as error:
        raise UsageError(f"{key}={value} is not valid YAML: {' '.join(str(error).split())}") from None


def _scalar(value: str) -> Any:
    parsed = yaml.safe_load(value)
    if isinstance(parsed, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(parsed)
        except ValueError:
            return parsed
    return parsed


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if part not in ("constrained-int", "constrained-str"))
    given = first.get("input")
    match first["type"]:
        case "extra_forbidden":
            return f"The recipe has no key {key!r}{_hint(key)}"
        case "missing":
            return f"The recipe lacks {key!r}; add it to the file or as {key}=..."
        case "literal_error":
            allowed = re.findall(r"'([^']*)'", first["ctx"]["expected"])
            return f"{key}={given!r} is not allowed{close_matches(str(given), allowed)}"
        case "value_error":
            where = f"{key}: " if key else ""
            return f"The recipe does not fit together: {where}{first['ctx']['error']}."
    return f"{key}={given!r} is not allowed: {first['msg'][:1].lower()}{first['msg'][1:]}."


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Loss:
                yield from _keys(inner, f"{prefix}{name}.")


def _hint(key: str) -> str:
    """Name the nearest key, also when only its section was forgotten or wrong, and the keys beside it."""
    parent, _, leaf = key.rpartition(".")
    known = list(_keys(Recipe))
    if parent.startswith("loss."):
        known += [f"{parent}.{name}" for name in Loss.model_fields]
    beside = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent]
    if not beside:
        parent, beside = "", list(Recipe.model_fields)
    leaves = {k.rpartition(".")[2]: k for k in reversed(known)}
    near = difflib.get_close_matches(key, known, n=1)
    near = (
        [leaves[leaf]] if leaf in leaves else near or [leaves[w] for w in difflib.get_close_matches(leaf, leaves, n=1)]
    )
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} Allowed{f' in {parent}' if parent else ''}: {', '.join(beside)}"
