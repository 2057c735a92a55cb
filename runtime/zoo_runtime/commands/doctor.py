"""``zoo doctor``."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from zoo_registry.errors import ModelError, ZooError
from zoo_runtime.commands.options import Json
from zoo_runtime.commands.simulation import print_facts

PACKAGES = ("numpy", "ase", "vesin", "safetensors", "huggingface-hub", "onnxruntime", "onnxruntime-gpu", "torch")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: Json = False) -> None:
    """Show what is installed, which back ends work here and why others do not, and where models are kept.

    Each back end runs a bundled model on water. The exit code is 3 if none can. Example: zoo doctor --json
    """
    import zoo_registry

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    report: dict[str, Any] = {
        "zoo": zoo_registry.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.platform()}, {cores} CPU cores",
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": _backends(),
        "gpu": _gpu(),
        "lammps": _lammps(),
        "models": _models(),
    }
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        facts = [(name, text) for name, text in report.items() if isinstance(text, str)]
        for group in ("packages", "backends", "models"):
            facts += [(name, text or "not installed") for name, text in report[group].items()]
        print_facts(facts)
    if not any(text.startswith("works") for text in report["backends"].values()):
        raise typer.Exit(ModelError.exit_code)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _backends() -> dict[str, str]:
    from ase.build import molecule

    from zoo_registry.release import open_release
    from zoo_runtime import keys
    from zoo_runtime.backends import ASKED, BACKENDS
    from zoo_runtime.model import load

    described = ((path, open_release(path).metadata) for path in _bundled().values())
    knows = (path for path, model in described if {1, 8} <= {*model.species} and keys.ENERGY in model.outputs)
    release = next(knows, None)
    if release is None:
        return dict.fromkeys(BACKENDS, "not tried: no bundled model knows the energy of water")
    found = {}
    for name, module in BACKENDS.items():
        try:
            if name in ASKED and not importlib.import_module(module).available():
                found[name] = "can compile, when asked for, a release that was exported for it"
                continue
            model = load(release, backend=name)
            energy = model.predict(molecule("H2O")).energy
            found[name] = f"works: {model.backend.description}; water has {energy:.4f} eV by {model.metadata.name}"
        except ZooError as error:
            found[name] = f"no: {error}"
        except Exception as error:  # a library that is broken is what this command is for
            found[name] = f"broken: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return found


def _bundled() -> dict[str, Path]:
    from zoo_registry.store import BUNDLED
    from zoo_registry.versions import versions_in

    return {
        f"{name}@{number}": BUNDLED / name / number
        for name, numbers in versions_in(BUNDLED).items()
        for number in numbers
    }


def _gpu() -> str:
    """What the driver of NVIDIA says, which needs no library."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "none found (no nvidia-smi)"
    query = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer ({error})"
    return "; ".join(done.stdout.split("\n")).strip("; ") or f"nvidia-smi finds none ({done.stderr.strip()[:100]})"


def _lammps() -> str:
    """Where the plugin is, by the variable with which LAMMPS finds it."""
    folders = os.environ.get("LAMMPS_PLUGIN_PATH", "").split(os.pathsep)
    plugins = [str(path) for folder in folders if folder for path in sorted(Path(folder).glob("zooplugin.*"))]
    program = shutil.which("lmp") or "no program lmp"
    return f"{program}; plugin: {', '.join(plugins) or 'none in LAMMPS_PLUGIN_PATH'}"


def _models() -> dict[str, str]:
    from zoo_registry.store import BUNDLED, cache_folder

    cache = cache_folder()
    folder = next(path for path in (cache, *cache.parents) if path.exists())
    writable = "" if os.access(folder, os.W_OK) else ", not writable"
    return {
        "bundled": f"{BUNDLED}: {', '.join(_bundled()) or 'none'}",
        "cache": f"{cache}{'' if cache.exists() else ', not there yet'}{writable}",
        "hub": _hub(),
    }


def _hub() -> str:
    from zoo_registry.hubs import check_location

    location = os.environ.get("ZOO_HUB")
    if not location:
        return "none named (hub= or ZOO_HUB)"
    try:
        check_location(location)
    except ModelError:
        return "(set, not shown)"
    return re.split("[?#]", location)[0] if "://" in location else location
