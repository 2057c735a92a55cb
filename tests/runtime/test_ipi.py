"""``zoo ipi`` as the client of ASE's own server, and of servers that misbehave."""

from __future__ import annotations

import gc
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.socketio import SocketIOCalculator
from ase.io import write

import zoo_runtime
from zoo_registry.release import Release

Zoo = Callable[..., tuple[int, str, str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@contextmanager
def asking(frames: list[Atoms], **address: object) -> Iterator[list[Atoms]]:
    """Let ASE's server ask for every frame, in a thread; the list holds frames with results when the client is done."""
    done: list[Atoms] = []

    def ask() -> None:
        with calculator:
            for frame in frames:
                frame.calc = calculator
                frame.get_forces()
                done.append(frame.copy())
                done[-1].info |= {name: np.copy(value) for name, value in calculator.results.items()}

    calculator = SocketIOCalculator(timeout=30, **address)  # listens from here on
    thread = threading.Thread(target=ask)
    thread.start()
    yield done
    thread.join()


@contextmanager
def speaking(port: int, *words: bytes) -> Iterator[None]:
    """Be a server that says something to its first client and goes away."""
    server = socket.create_server(("localhost", port))

    def speak() -> None:
        client, _ = server.accept()
        with client:
            for word in words:
                client.sendall(word)

    thread = threading.Thread(target=speak)
    thread.start()
    yield
    thread.join()
    server.close()


def crystals() -> list[Atoms]:
    """Steps of atoms and cell, as in a simulation at constant pressure."""
    frames = [bulk("C", cubic=True)]
    for seed, strain in enumerate([0.0, 0.02, -0.03]):
        frames.append(frames[0].copy())
        frames[-1].set_cell(frames[0].cell.array @ (np.eye(3) + strain * np.eye(3)[::-1]), scale_atoms=True)
        frames[-1].rattle(0.05, seed=seed)
    return frames


@pytest.mark.parametrize("kind", ["inet", "unix"])
def test_ases_server_gets_the_numbers_of_the_calculator(zoo: Zoo, pair_hub: Release, kind: str) -> None:
    frames = crystals()
    write("crystal.extxyz", frames[0])
    address = {"port": free_port()} if kind == "inet" else {"unixsocket": f"zoo-{uuid.uuid4()}"}
    with asking(frames, **address) as answers:
        words = [f"{name}={value}" for name, value in address.items()]
        code, out, err = zoo("ipi", "model=pair-test", *words, "crystal.extxyz")
    assert (code, out, err) == (0, "structures computed: 4; the server has ended\n", "")
    assert len(answers) == len(frames)
    model = zoo_runtime.load("pair-test")
    for answer in answers:
        expected = answer.copy()
        expected.calc = model.calculator()
        assert answer.info["energy"] == pytest.approx(expected.get_potential_energy(), rel=1e-12)
        assert answer.info["forces"] == pytest.approx(expected.get_forces(), rel=1e-10, abs=1e-10)
        assert answer.info["stress"] == pytest.approx(expected.get_stress(), rel=1e-10, abs=1e-10)


def test_a_molecule_has_no_virial_and_the_user_is_told(zoo: Zoo, pair_hub: Release) -> None:
    write("mol.xyz", molecule("CH4"))
    port = free_port()
    with asking([molecule("CH4")], port=port) as answers:
        code, _, err = zoo("ipi", "model=pair-test", f"port={port}", "mol.xyz")
    assert code == 0
    assert err.startswith("zoo: the virial is sent as zero")
    direct = zoo_runtime.load("pair-test").predict(molecule("CH4"))
    assert answers[0].info["energy"] == pytest.approx(direct.energy, rel=1e-12)
    assert answers[0].info["forces"] == pytest.approx(direct.forces, abs=1e-10)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # ASE leaves it open
def test_no_server_is_one_line_that_says_where(zoo: Zoo, pair_hub: Release) -> None:
    write("crystal.extxyz", crystals()[0])
    port = free_port()
    code, out, err = zoo("ipi", "model=pair-test", f"port={port}", "crystal.extxyz")
    assert (code, out) == (2, "")
    assert err.startswith(f"zoo: no server at host=localhost port={port} (")
    code, _, err = zoo("ipi", "model=pair-test", "unixsocket=nobody-there", "crystal.extxyz")
    assert code == 2
    assert "no server at unixsocket=nobody-there" in err
    code, _, err = zoo("ipi", "model=pair-test", "port=70000", "crystal.extxyz")
    assert code == 2
    assert "port=70000 must be from 1 to 65535" in err
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_server_that_comes_up_late_is_waited_for(zoo: Zoo, pair_hub: Release) -> None:
    write("mol.extxyz", molecule("CH4"))
    name = f"zoo-{uuid.uuid4()}"
    with ExitStack() as stack:
        late = threading.Timer(1.0, lambda: stack.enter_context(asking([molecule("CH4")], unixsocket=name)))
        late.start()
        code, out, _ = zoo("ipi", "model=pair-test", f"unixsocket={name}", "wait=30", "mol.extxyz")
        late.join()
    assert (code, out) == (0, "structures computed: 1; the server has ended\n")
    gc.collect()


def posdata(positions: np.ndarray) -> bytes:
    cell = 10 * np.eye(3)
    numbers = [(cell / units.Bohr).tobytes(), np.linalg.inv(cell).tobytes(), np.int32(len(positions)).tobytes()]
    return b"POSDATA     " + b"".join(numbers) + (positions / units.Bohr).tobytes()


CH4 = molecule("CH4").positions


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([b"HTTP/1.1 400 Bad"], "does not speak i-PI's protocol"),
        ([b"GETFORCE    "], "does not speak i-PI's protocol"),
        ([posdata(CH4 * np.nan)], "numbers that are not finite"),
        ([posdata(CH4)[:50]], "was lost after 0 structures"),
        ([posdata(CH4[:1])], "the server sent 1 atoms, the file has 5"),
        ([posdata(CH4 * 0.1)], "Are the coordinates in Å?"),
    ],
    ids=["another protocol", "wrong order", "nan", "lost", "one atom", "overlap"],
)
def test_a_server_that_misbehaves_ends_it_with_one_line(
    zoo: Zoo, pair_hub: Release, words: list[bytes], complaint: str
) -> None:
    write("mol.extxyz", molecule("CH4"))
    port = free_port()
    with speaking(port, *words):
        code, out, err = zoo("ipi", "model=pair-test", f"port={port}", "mol.extxyz")
    assert (code, out) == (1, "")
    assert complaint in err.splitlines()[-1]


def test_a_model_without_forces_is_refused(
    zoo: Zoo, pair_hub: Release, make_release: Callable[..., Release], make_metadata: Callable
) -> None:
    energy = {"energy": make_metadata().outputs["energy"]}
    make_release(name="energy-only", outputs=energy)
    write("crystal.extxyz", crystals()[0])
    code, _, err = zoo("ipi", "model=energy-only", "crystal.extxyz")
    assert code == 2
    assert "no energy and forces" in err
