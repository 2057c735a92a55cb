"""Reading a model of SchNetPack 2.x as plain data: which modules, their settings, their tensors. No code of it is run.

SchNetPack's ``best_model`` is a pickled network. It is read as torch reads weights only, which makes tensors and plain
values; every other class and function that the file names is replaced by a `Part`, which remembers its name and state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from zoo_registry.errors import ModelNotFound, ReleaseInvalid, UsageError

PREFIX = "model."
"""Of the names in a checkpoint of SchNetPack's training task."""


class Part:
    """What stands for an object of a class that is not loaded.

    Attributes:
        kind: ``module.Class`` or ``module.function``.
    """

    kind = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Part:
        """Make it whatever the arguments: they are of no use here."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})

    def __hash__(self) -> int:
        return id(self)

    def children(self) -> dict[str, Part]:
        """Return the modules in it by name."""
        found = self.__dict__.get("_modules", {})
        return {str(name): part for name, part in found.items() if isinstance(part, Part)}

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield all parameters and buffers in it, as its state dictionary would name them."""
        for group in ("_parameters", "_buffers"):
            for name, value in self.__dict__.get(group, {}).items():
                if isinstance(value, Tensor):
                    yield f"{prefix}{name}", value.detach()
        for name, part in self.children().items():
            yield from part.tensors(f"{prefix}{name}.")


@dataclass
class Source:
    """A model of SchNetPack as plain data.

    Attributes:
        tensors: By the names of its state dictionary.
        kinds: Name of the class of ``representation``, ``radial_basis``, ``cutoff_fn`` and ``embedding``.
        activations: Of ``representation`` and of ``head``.
        inputs: Classes of the modules before the representation.
        outputs: Class and settings of the modules after it.
        postprocessors: Class and settings of what follows.
        units: What the configuration says: ``energy``, ``length``; empty without one.
        version: Of SchNetPack, where the file says it.
    """

    tensors: dict[str, Tensor]
    kinds: dict[str, str]
    activations: dict[str, str]
    inputs: list[str]
    outputs: list[tuple[str, dict[str, Any]]]
    postprocessors: list[tuple[str, dict[str, Any]]]
    units: dict[str, str] = field(default_factory=dict)
    version: str = "2.x"


def read(path: Path, config: Path | None = None) -> Source:
    """Read a model.

    Args:
        path: ``best_model``, a run folder that holds it, or a state dictionary or checkpoint, which needs ``config``.
        config: ``config.yaml`` of the run; default that beside the model, if any.

    Raises:
        ModelNotFound: There is no such file.
        ReleaseInvalid: It cannot be read, or is something else.
        UsageError: Tensors without a configuration that says what they are.
    """
    file = path / "best_model" if path.is_dir() else path
    for needed in (file, config):
        if needed is not None and not needed.is_file():
            raise ModelNotFound(
                f"There is no file {needed}; give best_model, the run folder of SchNetPack that holds it."
            )
    beside = [folder / "config.yaml" for folder in (file.parent, file.parent.parent)]
    config = config or next((found for found in beside if found.is_file()), None)
    settings = _settings(config) if config else None
    content = _unpickled(file)
    if isinstance(content, Part):
        return _from_pickle(content, settings, file)
    tensors = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not any(isinstance(value, Tensor) for value in tensors.values()):
        raise ReleaseInvalid(f"{file} holds neither a model of SchNetPack nor tensors by name; give best_model.")
    if settings is None:
        raise UsageError(f"{file} holds tensors only; add config=config.yaml, from the folder in which it was trained.")
    named = {str(name).removeprefix(PREFIX): value for name, value in tensors.items() if isinstance(value, Tensor)}
    return _from_config(named, settings, str(config))


def _unpickled(file: Path) -> Any:
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        parts: list[Any] = [(type(_bare(kind), (Part,), {"kind": kind}), kind) for kind in named]
        with torch.serialization.safe_globals(parts):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise anything
        raise ReleaseInvalid(
            f"{file} cannot be read as a model ({type(error).__name__}); it is damaged, or wants to run code."
        ) from None


def _settings(config: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ReleaseInvalid(
            f"{config} cannot be read ({type(error).__name__}); give SchNetPack's config.yaml."
        ) from None
    if not isinstance(settings, dict) or not isinstance(settings.get("model"), dict):
        raise ReleaseInvalid(f"{config} has no section model; give the config.yaml that SchNetPack wrote.")
    return settings


def _from_pickle(model: Part, settings: dict[str, Any] | None, file: Path) -> Source:
    children = model.children()
    try:
        representation, outputs = children["representation"], children["output_modules"].children()
        inner = representation.children()
        interaction = inner["interactions"].children()["0"].children()
        heads = [part for part in outputs.values() if _bare(part.kind) == "Atomwise"]
        hidden = heads[0].children()["outnet"].children()["0"] if heads else Part()
        kinds = {name: _bare(inner[name].kind) for name in ("radial_basis", "cutoff_fn", "embedding")}
        activation = _activation(interaction["filter_network"].children()["0"])
    except (KeyError, AttributeError):
        raise ReleaseInvalid(
            f"{file} holds {model.kind}, not a SchNet of SchNetPack 2.x; only that is converted."
        ) from None
    return Source(
        tensors=dict(model.tensors()),
        kinds=kinds | {"representation": _bare(representation.kind)},
        activations={"representation": activation, "head": _activation(hidden)},
        inputs=[_bare(part.kind) for part in _listed(children, "input_modules")],
        outputs=[(_bare(part.kind), part.__dict__) for part in outputs.values()],
        postprocessors=[(_bare(part.kind), part.__dict__) for part in _listed(children, "postprocessors")],
        units=_units(settings, heads[0].__dict__.get("output_key") if heads else None),
        version=str(model.__dict__.get("spk_version", "2.x")),
    )


def _listed(children: dict[str, Part], name: str) -> list[Part]:
    return list(children[name].children().values()) if name in children else []


def _activation(layer: Part) -> str:
    found = layer.__dict__.get("activation", layer.children().get("activation"))
    return _bare(found.kind if isinstance(found, Part) else getattr(found, "__qualname__", str(found)))


def _from_config(tensors: dict[str, Tensor], settings: dict[str, Any], config: str) -> Source:
    model = settings["model"]
    try:
        representation = model["representation"]
        outputs = [(_bare(part["_target_"]), part) for part in _items(model["output_modules"])]
        heads = [part for kind, part in outputs if kind == "Atomwise"]
        embedding = representation.get("nuclear_embedding")
        return Source(
            tensors=tensors,
            kinds={
                "representation": _bare(representation["_target_"]),
                "radial_basis": _bare(representation["radial_basis"]["_target_"]),
                "cutoff_fn": _bare(representation["cutoff_fn"]["_target_"]),
                "embedding": _bare(embedding["_target_"]) if embedding else "Embedding",
            },
            activations={
                "representation": _chosen(representation, "shifted_softplus"),
                "head": _chosen(heads[0], "silu") if heads else "",
            },
            inputs=[_bare(part["_target_"]) for part in _items(model.get("input_modules"))],
            outputs=[
                (kind, {"aggregation_mode": "sum", "output_key": "y", "n_out": 1} | part) for kind, part in outputs
            ],
            postprocessors=[(_bare(part["_target_"]), part) for part in _items(model.get("postprocessors"))],
            units=_units(settings, heads[0].get("output_key") if heads else None),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ReleaseInvalid(
            f"{config}: the section model lacks {error}; give the config.yaml that SchNetPack wrote."
        ) from None


def _items(group: Any) -> list[dict[str, Any]]:
    return list(group.values()) if isinstance(group, dict) else list(group or [])


def _chosen(settings: dict[str, Any], default: str) -> str:
    """Return the name of the activation; SchNetPack's default where none is given."""
    chosen = settings.get("activation", default)
    return _bare(chosen["_target_"] if isinstance(chosen, dict) else str(chosen))


def _units(settings: dict[str, Any] | None, key: Any) -> dict[str, str]:
    data = (settings or {}).get("data") or {}
    found = {"energy": (data.get("property_units") or {}).get(key), "length": data.get("distance_unit")}
    return {name: str(unit) for name, unit in found.items() if unit}


def _bare(kind: str) -> str:
    return kind.rpartition(".")[2]
