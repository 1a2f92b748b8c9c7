"""This machine: its processor, its devices, and how a process keeps its memory.

How memory is kept is a choice of a whole process, and nothing here happens on import: `tunemax train` and the worker
processes of a study ask for it, and a program that uses the package as a library is left as it is.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import mmap
import os
import platform
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.lazy import torch

TUNABLES, LARGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
"""Environment variable of the C library, and what it says there for large pages by `madvise`."""

APART = 1 << 17
"""Bytes from which on a tensor has pages of its own where it is asked for: what C libraries do, too."""


def machine() -> str:
    """Sixteen digits that stand for the processor and for torch: the cache folder may be shared by several machines."""
    able = " ".join(sorted(cpu_flags() or ()))  # virtual machines call processors of several generations by one name
    kernels = torch.backends.cpu.get_cpu_capability()
    parts = f"{processor()}/{able}/{kernels}/{torch.__version__}/{torch.cuda.is_available()}"
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def peak_memory_mb(device: torch.device) -> float:
    """The most memory that this process has used, in MB: of the GPU, or of the host."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def has_gpu() -> bool:
    return torch.cuda.is_available()


def find_device(name: str) -> torch.device:
    """The device of a `device` field. Raises TunemaxError if this machine does not have it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" has devices without numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TunemaxError(f"device = {name}: not usable on this machine; use auto or cpu") from error
    return device


def cpu_flags() -> set[str] | None:
    """What the processor can do; None where the system does not say."""
    lines = (line.partition(":")[2] for line in _cpuinfo() if line.startswith(("flags", "Features")))
    return next((set(flags.split()) for flags in lines), None)


def processor() -> str:
    """Its name, as the system gives it."""
    lines = _cpuinfo()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else (platform.machine() if lines else platform.processor() or platform.machine())


def _cpuinfo() -> list[str]:
    """What Linux says of each core; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def keep_memory() -> bool:
    """Have the C library keep freed memory instead of handing it back to the system. False where it is not glibc.

    A step of many members frees tens of megabytes and takes them again; each time the system would hand out, and clear,
    new pages. For processes that do nothing but train.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = {-4: 0, -1: 2**31 - 1, -2: 64 << 20}  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD of malloc.h
    return all(library.mallopt(option, value) == 1 for option, value in settings.items())


def apart(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor on the CPU, its numbers undefined, in pages of its own; a small one is as any other.

    For what stays while a step takes memory and frees it: if it lay among that, each time that it grew by a member it
    would leave a hole, and a worker would need up to a fifth more memory than another one that does the same.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < APART:
        return torch.empty(tuple(shape), dtype=dtype)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # not Linux, or it gives them to all or nobody
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(tuple(shape))


@contextmanager
def large_pages() -> Iterator[None]:
    """Processes that start meanwhile ask the system for large pages, with which a step takes five per cent less time.

    glibc reads it when a process starts; other C libraries, and systems that give them to all or nobody, do not care.
    """
    before = os.environ.get(TUNABLES, "")
    if LARGE.partition("=")[0] not in before:
        os.environ[TUNABLES] = ":".join(filter(None, (before, LARGE)))
    try:
        yield
    finally:
        if before:
            os.environ[TUNABLES] = before
        else:
            os.environ.pop(TUNABLES, None)
