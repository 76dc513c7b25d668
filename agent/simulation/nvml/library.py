"""Compiling the simulated NVML library.

Two C files, one compiler call, into a folder of the caller's; pynvml finds the result by its soname when that folder
is in LD_LIBRARY_PATH before the process starts, and its GPUs in the file that NEGAWATT_NVML_STATE names.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from agent.simulation.errors import CompilerError

SONAME = "libnvidia-ml.so.1"
STATE_VARIABLE = "NEGAWATT_NVML_STATE"

_SOURCES = tuple(str(Path(__file__).with_name(name)) for name in ("nvml_sim.c", "nvml_power.c"))
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-fvisibility=hidden", "-shared", "-pthread")


def build(folder: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Compile the library into ``folder``, made if need be; returns the library's path. Raises CompilerError."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / SONAME
    partial = folder / f"{SONAME}.partial"
    command = [*_compiler(environ), *_FLAGS, f"-Wl,-soname,{SONAME}", "-o", str(partial), *_SOURCES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompilerError(
            f"cannot run the C compiler {command[0]}: {error.strerror}; set CC to one that runs"
        ) from error
    if done.returncode != 0:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
        raise CompilerError(f"{command[0]} cannot compile the simulated NVML library: {reason}")
    partial.replace(library)
    return library


def _compiler(environ: Mapping[str, str]) -> list[str]:
    if chosen := environ.get("CC"):
        return shlex.split(chosen)
    for name in ("gcc", "cc", "clang"):
        if found := shutil.which(name, path=environ.get("PATH")):
            return [found]
    raise CompilerError("there is no C compiler for the simulated GPUs: apt-get install gcc, or set CC to a compiler")
