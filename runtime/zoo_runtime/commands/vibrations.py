"""``zoo vibrations``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_runtime.commands.options import Backend, Device, Dipole, Dtype, File, Hub, Json, ModelName, Strict, Threads
from zoo_runtime.commands.simulation import (
    check_apart,
    check_suffix,
    errors_told,
    last_structure,
    print_facts,
    quantity,
    warnings_on_stderr,
    writing,
)

if TYPE_CHECKING:
    from zoo_runtime.simulate.normal_modes import Vibrations


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("vibrations")(vibrations)


def vibrations(
    file: File,
    model: ModelName,
    relaxed: Annotated[bool, typer.Option("--relaxed", help="Take the structure as it is.")] = False,
    fmax: Annotated[float, typer.Option(help="eV/Å; how far to relax first.")] = 1e-3,
    displacement: Annotated[float, typer.Option(help="Å, of the central differences.")] = 0.002,
    temperature: Annotated[float, typer.Option(help="K, of the thermochemistry.")] = 298.15,
    pressure: Annotated[float, typer.Option(help="Pa, of the thermochemistry.")] = 101325.0,
    symmetry_number: Annotated[int, typer.Option(help="Rotational symmetry number, of the thermochemistry.")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="Modes as an animation, one after another: .extxyz, .xyz or .traj.")
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
    """Frequencies and zero-point energy, after relaxation: zoo vibrations model=schnet-rmd17-ethanol mol.xyz."""
    from ase.io import write

    from zoo_runtime.model import load
    from zoo_runtime.simulate.normal_modes import animate
    from zoo_runtime.simulate.normal_modes import vibrations as compute

    with errors_told(as_json, file=file, model=model), warnings_on_stderr(show=False):
        if output:
            check_suffix("output", output, (".extxyz", ".xyz", ".traj"))
            check_apart(file=file, output=output)
        structure = last_structure(file)
        loaded = load(model, backend, device, dtype, hub, threads, strict=strict)
        of_dipoles = load(dipole, backend, device, dtype, hub, threads, strict=strict) if dipole else None
        found = compute(
            loaded, structure, relaxed, fmax, displacement, temperature, pressure, symmetry_number, of_dipoles
        )
    for warning in found.warnings:
        typer.echo(f"zoo: {file}: warning: {warning}", err=True)
    if output:
        with writing(output) as temporary:
            write(temporary, animate(found))
    if as_json:
        name = loaded.metadata.label
        told = {"file": str(file), "formula": structure.get_chemical_formula(), "model": name}
        typer.echo(json.dumps(told | {"backend": loaded.backend.name} | _record(found), ensure_ascii=False))
        return
    for number, frequency in enumerate(found.frequencies, 1):
        text = f"{-frequency:10.1f}i" if frequency < 0 else f"{frequency:10.1f}"
        infrared = "" if found.intensities is None else f"{found.intensities[number - 1]:10.1f} km/mol"
        typer.echo(f"mode {number:>4}{text} cm⁻¹{infrared}")
    print_facts(_facts(found))
    typer.echo(f"backend: {loaded.backend.description}")


def _facts(found: Vibrations) -> list[tuple[str, str]]:
    facts = [
        ("energy", f"{found.energy:.6f} eV"),
        ("max |force|", f"{found.largest_force:.5f} eV/Å"),
        ("zero-point energy", f"{found.zero_point_energy:.4f} eV"),
    ]
    if gas := found.thermochemistry:
        facts += [
            ("ideal gas at", f"{gas.temperature:g} K, {gas.pressure:g} Pa, symmetry number {gas.symmetry_number}"),
            ("enthalpy", f"{gas.enthalpy:.4f} eV"),
            ("entropy", f"{gas.entropy:.6f} eV/K"),
            ("Gibbs energy", f"{gas.gibbs_energy:.4f} eV"),
        ]
    return facts


def _record(found: Vibrations) -> dict[str, Any]:
    from zoo_runtime.prediction import described

    gas = found.thermochemistry
    return {
        "energy": quantity(found.energy, "eV"),
        "largest_force": quantity(found.largest_force, "eV/Å"),
        "frequencies": quantity(found.frequencies.tolist(), "cm⁻¹") | {"note": "negative: imaginary"},
        "intensities": None if found.intensities is None else quantity(found.intensities.tolist(), "km/mol"),
        "modes": quantity(found.modes.tolist(), "u^(-1/2)"),
        "zero_point_energy": quantity(found.zero_point_energy, "eV"),
        "positions": quantity(found.atoms.positions.tolist(), "Å"),
        "thermochemistry": gas
        and {
            "temperature": quantity(gas.temperature, "K"),
            "pressure": quantity(gas.pressure, "Pa"),
            "symmetry_number": gas.symmetry_number,
            "enthalpy": quantity(gas.enthalpy, "eV"),
            "entropy": quantity(gas.entropy, "eV/K"),
            "gibbs_energy": quantity(gas.gibbs_energy, "eV"),
        },
        "warnings": described(found.warnings),
    }
