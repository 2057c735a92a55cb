"""``zoo ipi``: energies, forces and virials for a server that speaks i-PI's protocol."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_registry.errors import StructureError, UsageError, ZooError
from zoo_runtime import keys
from zoo_runtime.commands.options import Backend, Device, Dtype, Hub, ModelName, Threads
from zoo_runtime.commands.simulation import last_structure, warnings_on_stderr

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.socketio import SocketClient

PORTS = range(1, 65536)


class ServerError(ZooError):
    """A server that was lost, or that says something else than the protocol allows."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ipi")(ipi)


def ipi(
    file: Annotated[
        Path,
        typer.Argument(
            help="Elements in the server's order of atoms, and whether they are periodic; of several, the last.",
            exists=True,
            dir_okay=False,
        ),
    ],
    model: ModelName,
    port: Annotated[int, typer.Option(help="Of the server.")] = 31415,
    host: Annotated[str, typer.Option(help="Of the server.")] = "localhost",
    unixsocket: Annotated[
        str | None, typer.Option(help="Name NAME of the socket /tmp/ipi_NAME, in place of host and port.")
    ] = None,
    wait: Annotated[float, typer.Option(help="s, how long to wait for the server to come up.")] = 0.0,
    backend: Backend = "auto",
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
    hub: Hub = None,
) -> None:
    """Compute for i-PI, or ASE's SocketIOCalculator: zoo ipi model=schnet-rmd17-ethanol port=31415 mol.xyz.

    Ends when the server does.
    """
    from zoo_runtime.model import load

    structure = last_structure(file)
    loaded = load(model, backend, device, dtype, hub, threads)
    if not {keys.ENERGY, keys.FORCES} <= loaded.metadata.outputs.keys():
        raise UsageError(f"{loaded.metadata.name} has no energy and forces, which i-PI asks for; use another model.")
    structure.calc = loaded.calculator()
    virial = keys.STRESS in loaded.metadata.outputs and bool(structure.pbc.any()) and structure.cell.rank == 3
    if not virial:
        typer.echo(
            "zoo: the virial is sent as zero: the structure is not periodic, or the model has no stress", err=True
        )
    with warnings_on_stderr():
        steps = serve(structure, host, port, unixsocket, virial, wait)
    typer.echo(f"structures computed: {steps:,}; the server has ended")


def serve(atoms: Atoms, host: str, port: int, unixsocket: str | None, virial: bool, wait: float = 0.0) -> int:
    """Compute whatever a server sends until it ends.

    Args:
        atoms: Elements in the server's order of atoms, periodicity, and a calculator.
        host: Name or address of the server.
        port: Its port.
        unixsocket: ``NAME`` of the socket ``/tmp/ipi_NAME``, in place of host and port.
        virial: Whether to send virials, which only a server that changes the cell needs, or zeros.
        wait: s, how long to wait for the server to come up.

    Returns:
        How many structures were computed.

    Raises:
        UsageError: No server is there.
        ServerError: The server was lost in the middle of a step, or does not speak the protocol.
        StructureError: A structure that the model cannot or must not be asked about.
    """
    where = f"unixsocket={unixsocket}" if unixsocket else f"host={host} port={port}"
    client = _connect(where, host, port, unixsocket, time.monotonic() + wait)
    _check_number(client, len(atoms))
    steps = 0
    try:
        for _ in client.irun(atoms, use_stress=virial):
            steps += 1
    except OSError as error:
        raise ServerError(
            f"the server at {where} was lost after {steps:,} structures ({error or 'closed'})."
        ) from error
    except (AssertionError, KeyError, UnicodeDecodeError) as error:  # how ASE's client tells of a wrong message
        raise ServerError(f"{where} does not speak i-PI's protocol, or sent numbers that are not finite.") from error
    return steps


def _connect(where: str, host: str, port: int, unixsocket: str | None, deadline: float) -> SocketClient:
    from ase.calculators.socketio import SocketClient

    if port not in PORTS:
        raise UsageError(f"port={port} must be from {PORTS[0]} to {PORTS[-1]}.")
    while True:
        try:
            return SocketClient(host=host, port=port, unixsocket=unixsocket)
        except OSError as error:
            if time.monotonic() >= deadline:
                raise UsageError(
                    f"no server at {where} ({error.strerror or error}); start it first, or give wait=SECONDS."
                ) from error
        time.sleep(0.2)


def _check_number(client: SocketClient, n_atoms: int) -> None:
    """Refuse other numbers of atoms, of which numpy would spread a single one over all."""
    receive = client.protocol.recvposdata

    def receive_as_many() -> Any:
        cell, inverse, positions = receive()
        if len(positions) != n_atoms:
            raise StructureError(
                f"the server sent {len(positions)} atoms, the file has {n_atoms}; give both the same structure."
            )
        return cell, inverse, positions

    client.protocol.recvposdata = receive_as_many
