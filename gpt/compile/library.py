"""Compiled functions as files: a shared library each, named after all that it was made from, for later processes."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import GraphModule

from tunemax.gpt import hardware
from tunemax.gpt.data import data_root
from tunemax.gpt.files import partial_folder
from tunemax.gpt.locks import locked
from tunemax.gpt.trust import fault, make_private, own_folder

CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable of torch: where what was compiled is kept, for this and other processes."""

SETTINGS = ("TORCHINDUCTOR_", "AOT_INDUCTOR_", "AOTINDUCTOR_", "CXX")
"""How environment variables begin that change what torch's compiler makes."""

SIZES = (1, 2, 3, 5, 16, 64, 1024)
"""Numbers of members, or of windows, for which a function must be the same."""

Compiled = Callable[..., Sequence[Tensor]]
Traced = tuple[GraphModule, Sequence[Tensor]]
"""A graph, and inputs like those that it will be called with."""


def compiled(key: str, trace: Callable[[], Traced]) -> Compiled:
    """The function of a key, from its file; or traced and compiled now, for half a minute, while others wait for it.

    key: all that the function depends on, in words, but for this package, this machine and its torch.
    Raises RuntimeError or OSError where it cannot be compiled, kept or loaded.
    """
    folder = share_cache_folder()
    make_private(folder)
    place = folder / f"{_name(key)}.so"
    if found := _found(place):
        return found
    with locked(place.with_suffix(".lock")):
        if found := _found(place):  # another process has made it meanwhile
            return found
        _announce()
        _compile(*trace(), place)
    return _load(place)


@lru_cache
def _announce() -> None:
    """Why nothing seems to happen; once in a process."""
    line = "compile: making functions for this model, half a minute or more for each, once on this machine\n"
    sys.stderr.write(line)  # in one piece, whoever else writes
    sys.stderr.flush()


def _found(place: Path) -> Compiled | None:
    """The function in a file; None if it is not there, somebody else's, or does not load: it is made anew then."""
    if not place.exists() or fault(place):
        return None
    try:
        return _load(place)
    except RuntimeError:
        return None


def _load(place: Path) -> Compiled:
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(place), 1)
    return lambda *inputs: runner.run(list(inputs))


def _name(key: str) -> str:
    """Digits for a key, the code of this package, this machine, and what the environment says to the compiler."""
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(SETTINGS))
    settings = [line for line in settings if not line.startswith(f"{CACHE}=")]
    parts = f"{hardware.machine()} {platform.libc_ver()} {settings} {CODE} {key}"
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def digest(paths: Iterable[Path]) -> str:
    """Of what files hold."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()


CODE = digest(path for path in Path(__file__).parents[1].rglob("*.py") if path.is_file())
"""Of all of gpt as it is imported: files may change while a process runs what they were."""


def _compile(graph: GraphModule, inputs: Sequence[Tensor], place: Path) -> None:
    import torch._inductor as inductor  # seconds, and only for those who compile

    with partial_folder(place.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch to itself
        options = {
            "aot_inductor.output_path": str(folder),
            "compile_threads": 1,
            "cpp.threads": torch.get_num_threads(),
        }
        made = inductor.aot_compile(graph, tuple(inputs), options=options)
        assert isinstance(made, str)
        _check_sizes(inputs)
        with open(made, "rb+") as file:  # a rename must not outlive the bytes that it stands for
            os.fsync(file)
        os.replace(made, place)


def _check_sizes(tracers: Sequence[Tensor]) -> None:
    """Raise RuntimeError if a function holds for some numbers of members or windows only, which torch just notes."""
    from torch._guards import detect_fake_mode

    mode = detect_fake_mode(tracers)
    for guard in mode.shape_env.guards if mode and mode.shape_env else []:
        for size in SIZES:
            if not guard.expr.subs(dict.fromkeys(guard.expr.free_symbols, size)):
                raise RuntimeError(f"what was compiled holds where {guard.expr} only")


def compiler_fault() -> str | None:
    """Why nothing can be compiled here; None if it can."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"no C++ compiler ({compiler}) on this machine"
    try:
        subprocess.run([compiler, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):  # before anything is traced for it, which takes ten seconds
        return f"{compiler} is no working C++ compiler"
    folder = cache_folder()
    try:
        make_private(folder)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"
    if reason := fault(folder):
        return f"{reason}, and what lies in {folder} is run; set {CACHE} to a folder of your own"
    if os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0):
        return f"{folder} is on a file system without programs (noexec); set {CACHE} to another folder"
    return None


def without(reason: str) -> str:
    """What a user is told where nothing is compiled."""
    return f"compile: {reason}; going on without"


def cache_folder() -> Path:
    """Where compiled functions are kept: as torch's environment says, else beside the prepared data. What lies there is
    run, so it is a folder of this user's own if others can write in that one."""
    wished = Path(os.environ.get(CACHE) or data_root() / ".compiled")
    if (folder := own_folder(wished)) != wished:
        os.environ[CACHE] = str(folder)  # for the processes that this one starts, which need not say so again
    return folder


def share_cache_folder() -> Path:
    """The cache folder, where from now on also lies what torch itself keeps, in this process and those that it starts.

    Who compiles calls it first of all: torch would otherwise choose a place in /tmp as soon as it traces anything.
    """
    folder = cache_folder()
    os.environ[CACHE] = str(folder)
    return folder
