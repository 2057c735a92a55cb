"""Build hook of the wheel: compiles libzoo into the package where a compiler is there, and goes on without it else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "runtime/cpp"
TARGET = "runtime/zoo_runtime/_native"
LIBRARY = "libzoo.dylib" if sys.platform == "darwin" else "libzoo.so"


class NativeLibrary(BuildHookInterface):
    """Puts the native library into ``zoo_runtime/_native``, in wheels and in editable installs."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what building needs beside a compiler, where it is not on this machine."""
        return [] if shutil.which("cmake") else ["cmake>=3.18"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and make the wheel one of this platform but of every Python version."""
        if self.target_name != "wheel":
            return
        if reason := self._build():
            self.app.display_warning(f"atomzoo is built without its native engine: {reason}. Predictions use ONNX.")
            return
        if version != "editable":
            build_data["artifacts"].append(f"/{TARGET}/{LIBRARY}")
        build_data["pure_python"] = False
        platform = os.environ.get("ZOO_WHEEL_PLATFORM") or sysconfig.get_platform()
        build_data["tag"] = f"py3-none-{platform.replace('-', '_').replace('.', '_')}"

    def _build(self) -> str | None:
        """Return None where the library was built, or why it was not."""
        cmake = shutil.which("cmake")
        if os.environ.get("ZOO_NATIVE", "1") == "0":
            return "ZOO_NATIVE=0 is set"
        if cmake is None:
            return "CMake is not installed"
        root = Path(self.root)
        build = root / "build" / "native"
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        for command in (
            [cmake, "-S", str(root / SOURCE), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release", *generator],
            [cmake, "--build", str(build), "--parallel"],
        ):
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
                return f"`{' '.join(command[:2])}` failed: {lines[-1]}"
        target = root / TARGET
        target.mkdir(exist_ok=True)
        # A new file, not new bytes in the old one: a process may have that one loaded.
        shutil.copyfile(build / LIBRARY, target / f"{LIBRARY}.new")
        os.replace(target / f"{LIBRARY}.new", target / LIBRARY)
        return None
