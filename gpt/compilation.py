"""The compiled form of the loss, where this machine has a compiler."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from gpt.model import losses


@lru_cache(maxsize=1)
def compiled_losses() -> Callable[..., Tensor]:
    """`losses` as torch.compile makes it: equal to rounding, faster after half a minute of compiling.

    One for the process, so that trainers of equal shapes share what was compiled. Without a C++ compiler it says so, once,
    and gives the eager function.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        print(f"compile: no C++ compiler ({compiler}) on this machine; going on without", file=sys.stderr)
        return losses
    compiled: Callable[..., Tensor] = torch.compile(losses)
    return compiled
