"""``zoo spectrum``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_runtime.commands.options import Backend, Device, Dipole, Dtype, Hub, Json, Strict, Threads
from zoo_runtime.commands.simulation import (
    check_apart,
    check_suffix,
    errors_told,
    print_facts,
    quantity,
    warnings_on_stderr,
    writing,
)

if TYPE_CHECKING:
    from ase import Atoms

    from zoo_runtime.simulate.spectra import Spectrum


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("spectrum")(spectrum)


def spectrum(
    trajectory: Annotated[
        Path, typer.Argument(help="Structures with velocities, as zoo md writes them.", exists=True, dir_okay=False)
    ],
    output: Annotated[Path, typer.Option(help="The numbers: .csv.")] = Path("spectrum.csv"),
    plot: Annotated[Path | None, typer.Option(help="A picture too: .png, .svg or .pdf.")] = None,
    resolution: Annotated[
        float | None, typer.Option(help="cm⁻¹; default what half of the trajectory gives.", show_default=False)
    ] = None,
    maximum: Annotated[
        float, typer.Option(help="cm⁻¹, where the spectrum ends; frames must be close enough to show it.")
    ] = 4500.0,
    skip: Annotated[int, typer.Option(help="Leave out so many structures at the beginning.", min=0)] = 0,
    frame_time: Annotated[
        float | None, typer.Option(help="fs between structures; a trajectory of zoo md says it.", show_default=False)
    ] = None,
    dipole: Dipole = None,
    backend: Backend = "auto",
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
    hub: Hub = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Vibrational density of states, and infrared where there are dipoles: zoo spectrum md.traj plot=spectrum.png."""
    from zoo_runtime.model import load
    from zoo_runtime.simulate.checks import need_dipole
    from zoo_runtime.simulate.infrared import with_dipoles
    from zoo_runtime.simulate.plot import plot_spectrum
    from zoo_runtime.simulate.spectra import spectrum as compute

    with errors_told(as_json, file=trajectory), warnings_on_stderr():
        check_suffix("output", output, (".csv",))
        check_apart(trajectory=trajectory, output=output, plot=plot)
        if plot:
            check_suffix("plot", plot, (".png", ".svg", ".pdf"))
        structures = _structures(trajectory, skip)
        if dipole:
            model = load(dipole, backend, device, dtype, hub, threads, strict=strict)
            need_dipole(model)
            structures = with_dipoles(model, structures)
        found = compute(structures, frame_time, resolution, maximum)
        with writing(output) as temporary:
            _write(found, temporary)
        if plot:
            with writing(plot) as temporary:
                plot_spectrum(found, temporary)
    if as_json:
        told = {
            "file": str(trajectory),
            "frames": found.frames,
            "frame_time": quantity(found.frame_time, "fs"),
            "resolution": quantity(found.resolution, "cm⁻¹"),
            "peaks": quantity(found.peaks, "cm⁻¹"),
            "infrared_peaks": None if found.infrared is None else quantity(found.infrared_peaks, "cm⁻¹"),
            "output": str(output),
        }
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    facts = [
        ("structures", f"{found.frames:,}, every {found.frame_time:g} fs"),
        ("resolution", f"{found.resolution:.1f} cm⁻¹"),
        ("peaks (cm⁻¹)", _numbers(found.peaks)),
        ("infrared (cm⁻¹)", "no dipoles" if found.infrared is None else _numbers(found.infrared_peaks)),
        ("written", ", ".join(str(path) for path in (output, plot) if path)),
    ]
    print_facts(facts)


def _structures(file: Path, skip: int) -> Iterator[Atoms]:
    from zoo_registry.errors import ZooError
    from zoo_runtime.frames import read_frames

    for frame in read_frames([file]):
        if isinstance(frame.structure, ZooError):
            raise frame.structure
        if frame.index >= skip:
            yield frame.structure


def _numbers(peaks: list[float]) -> str:
    return " ".join(f"{peak:.0f}" for peak in peaks) or "none"


def _write(found: Spectrum, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["wavenumber (cm⁻¹)", "density of states (modes/cm⁻¹)", "infrared (relative)"])
        infrared = [""] * len(found.density) if found.infrared is None else found.infrared
        table.writerows(zip(found.wavenumbers, found.density, infrared, strict=True))
