"""What a machine has that training needs, one finding a line."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from tunemax.gpt import hardware, matmul
from tunemax.gpt.compile.library import cache_folder
from tunemax.gpt.data import data_root
from tunemax.gpt.errors import TunemaxError
from tunemax.search.machine.limits import cores, free
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.paths import default_storage, runs_folder
from tunemax.search.storage.questions import questions
from tunemax.search.storage.urls import shown, storage_url


@dataclass(frozen=True)
class Finding:
    """name: of what was looked at. text: what was found. fault: whether something has to be done about it."""

    name: str
    text: str
    fault: bool = False


def examine(where: str | None = None) -> Iterator[Finding]:
    """Look at everything in turn. where: the storage, the default one if None.

    What is broken is a finding, never an error.
    """
    looks: list[tuple[str, Callable[[], str]]] = [
        ("processor", _processor),
        ("memory", lambda: f"{free() / 1e9:.1f} GB free of {psutil.virtual_memory().total / 1e9:.1f}"),
        ("torch", _torch),
        ("matrices", lambda: matmul.choose().reason),
        ("bf16", lambda: matmul.bf16_fault("auto") or "this device has instructions for it"),
        ("compiler", _compiler),
        ("data", lambda: f"{_writable(data_root())}; {_space(data_root())}"),
        ("storage", lambda: _storage(where or default_storage())),
        ("runs", lambda: _writable(runs_folder(str(storage_url(where or default_storage()))))),
    ]
    for name, look in looks:
        try:
            yield Finding(name, look())
        except (TunemaxError, OSError) as error:
            yield Finding(name, " ".join(str(error).split()), fault=True)


def _processor() -> str:
    return f"{hardware.processor()}, {_cores()}, {platform.system()}, Python {platform.python_version()}"


def _cores() -> str:
    usable, there = cores(), os.cpu_count() or 1
    return f"{usable} core{'' if usable == 1 else 's'}" + (f" of its {there}" if usable < there else "")


def _torch() -> str:
    gpu = torch.cuda.get_device_name() if hardware.has_gpu() else "no GPU"
    return f"{torch.__version__}, {gpu}"


def _compiler() -> str:
    name = os.environ.get("CXX", "g++")
    if shutil.which(name) is None:
        return f"none ({name} is not there): everything trains in eager mode"
    lines = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout.splitlines()
    return f"{lines[0] if lines else name}; functions are kept in {_writable(cache_folder())}"


def _storage(where: str) -> str:
    url = storage_url(where)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return f"{shown(url)}: not there yet; the first study makes it"
    count = len(questions(open_storage(where, create=False)))
    return f"{shown(url)}: {count} question{'' if count == 1 else 's'}"


def _writable(folder: Path) -> str:
    """The folder's name, if something can be written there. Raises OSError if not."""
    tempfile.TemporaryFile(dir=_nearest(folder)).close()
    return str(folder)


def _space(folder: Path) -> str:
    return f"{shutil.disk_usage(_nearest(folder)).free / 1e9:.0f} GB free on its disk"


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
