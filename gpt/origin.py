"""Where the numbers of this process come from: the code that computes them, Python, torch, the device and the host."""

from __future__ import annotations

import platform
import socket
from contextlib import suppress
from functools import cache

import torch

from tunemax.gpt.checkpoint import installed
from tunemax.gpt.compile.library import CODE
from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.hardware import find_device, processor

DIGITS = 16
"""Of a digest, so many are kept."""


def origin(config: Config) -> dict[str, str]:
    """Of a training of this configuration, here and now, as JSON can hold it.

    ``code``: digest of all of gpt as it was imported. ``kind``: of the device, cpu or cuda, and ``device``: its name.
    ``plugins``: those that the configuration needs, by name and digest; not there if it needs none. Beside them
    ``tunemax``, ``torch``, ``python`` (versions) and ``host``.
    """
    used = " ".join(f"{record.name}:{record.digest[:DIGITS]}" for record in config.plugins)
    return {**of_process(config.train.device), **({"plugins": used} if used else {})}


@cache
def of_process(device: str) -> dict[str, str]:
    """The same of any training on a device, as its field names it; looked up once. Nobody changes it."""
    kind, name = device.partition(":")[0], ""
    with suppress(TunemaxError):  # it is not here, which whoever trains will say
        kind = find_device(device).type
        name = torch.cuda.get_device_name(find_device(device)) if kind == "cuda" else processor()
    return {
        "code": CODE[:DIGITS],
        "tunemax": installed(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "kind": kind,
        "device": name,
        "host": socket.gethostname(),
    }
