"""Loss and gradient of a step as one compiled function, where this machine has a compiler.

The eager code is run once with tracers in place of tensors (`make_fx`), forward and backward in one flat graph, and inductor makes
one C++ function of it. Nothing of Python is left in it, so there are no breaks.

On a CPU a graph is of one member, and the rows of a stack go through it one after another: who comes and goes never compiles
anything anew, and a member's numbers depend on its neighbours as little as in eager mode, in no bit. On a GPU a graph is of the
whole stack, since there a small model is bound by the number of kernels.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt.config import ModelConfig
from gpt.data import data_root
from gpt.layout import Layout
from gpt.model import Lane, losses
from gpt.random import Dropout

CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable of torch: where it keeps what was compiled, for this and other processes."""
ALIGNED = 64

Gradients = tuple[Tensor, Tensor]
"""Loss (K,) in nats a token, and its gradient (K, P)."""
Compiled = Callable[..., Gradients]
Site = tuple[str, torch.Size, torch.dtype]

_compiled: dict[str, Compiled] = {}  # of this process; trainers of equal shapes share it
_sites: dict[str, list[Site]] = {}


@dataclass(frozen=True)
class Eager:
    """Loss and gradient as torch computes them, operation by operation."""

    layout: Layout
    model: ModelConfig
    bf16: bool

    def __call__(self, theta: Tensor, tokens: Tensor, lanes: Sequence[Lane], dropout: Dropout | None) -> Gradients:
        """theta: (K, P). tokens: (K, B, T + 1)."""
        theta = theta.detach().requires_grad_()
        with torch.autocast(theta.device.type, torch.bfloat16, enabled=self.bf16):
            loss = losses(self.layout.split(theta), tokens, self.model, lanes, dropout).mean(1)
        (grad,) = torch.autograd.grad(loss.sum(), theta)
        return loss.detach(), grad


@dataclass(frozen=True)
class _Part:
    """Members that one call of a compiled function trains: a row on a CPU, everybody on a GPU."""

    rows: slice
    lanes: tuple[Lane, ...]
    scalars: tuple[Tensor, ...]
    key: str


class Graphs:
    """Loss and gradient as compiled functions, one for each code path. What cannot be compiled here is computed by `eager`.

    key: what all members share, such as shapes and precision, in words; equal ones share what was compiled.
    """

    def __init__(self, eager: Eager, key: str) -> None:
        self._eager, self._key = eager, key
        self._lanes: Sequence[Lane] = ()
        self._parts: list[_Part] = []
        self.working = compiler_fault() is None
        """False once something has kept it from compiling."""

    def __call__(self, theta: Tensor, tokens: Tensor, lanes: Sequence[Lane], dropout: Dropout | None) -> Gradients:
        if self.working and lanes is not self._lanes:
            self._lanes, self._parts = lanes, list(self._divided(theta, lanes))
        found = []
        for part in self._parts if self.working else ():
            own = dropout.of(part.rows) if dropout else None
            result = self._of_part(part, _aligned(theta.detach()[part.rows]), tokens[part.rows], own)
            if result is None:
                break
            found.append(result)
        if not self.working:
            return self._eager(theta, tokens, lanes, dropout)
        loss, grad = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*found, strict=True))
        return loss, grad

    def _divided(self, theta: Tensor, lanes: Sequence[Lane]) -> Iterator[_Part]:
        kind = f"{self._key} {theta.dtype} {theta.device} {torch.get_num_threads()} threads"
        if theta.device.type != "cpu":
            paths = [(lane.variant.code_path, lane.rows.start, lane.rows.stop) for lane in lanes]
            scalars = tuple(value for lane in lanes for value in lane.scalars.values())
            yield _Part(slice(0, len(theta)), tuple(lanes), scalars, f"{kind} {paths}")
            return
        for lane in lanes:
            for row in range(lane.rows.stop - lane.rows.start):
                own = {name: value[row : row + 1] for name, value in lane.scalars.items()}
                alone = Lane(lane.variant, slice(0, 1), own)
                at = lane.rows.start + row
                yield _Part(slice(at, at + 1), (alone,), tuple(own.values()), f"{kind} {lane.variant.code_path}")

    def _of_part(self, part: _Part, theta: Tensor, tokens: Tensor, dropout: Dropout | None) -> Gradients | None:
        """None if it cannot be compiled."""
        key = f"{part.key} {tuple(tokens.shape)} {dropout is not None}"
        masks: list[Tensor] = []
        if dropout:
            masks = [dropout.mask(site, shape, dtype).to(theta.device) for site, shape, dtype in self._sites(key, part, theta, tokens)]
        inputs = [theta, tokens, *part.scalars, *masks]
        if key not in _compiled:
            try:
                _compiled[key] = self._compile(key, part.lanes, inputs)
            except (RuntimeError, OSError) as error:
                reason = str(error).strip().splitlines()
                print(f"compile: failed ({reason[0] if reason else type(error).__name__}); going on without", file=sys.stderr)
                self.working = False
                return None
        return _compiled[key](*inputs)

    def _sites(self, key: str, part: _Part, theta: Tensor, tokens: Tensor) -> list[Site]:
        """Where the model drops, in order; found by running it."""
        if key not in _sites:
            recorder = _Recorder()
            with torch.no_grad(), torch.autocast(theta.device.type, torch.bfloat16, enabled=self._eager.bf16):
                losses(self._eager.layout.split(theta), tokens, self._eager.model, part.lanes, recorder)
            _sites[key] = recorder.sites
        return _sites[key]

    def _compile(self, key: str, lanes: Sequence[Lane], inputs: list[Any]) -> Compiled:
        """Trace and compile, or load what another process has compiled; while it compiles, others wait for it."""
        import torch._inductor as inductor  # a second or two, and only for those who compile
        from torch.fx.experimental.proxy_tensor import make_fx

        sites = [site for site, _, _ in _sites.get(key, [])]

        def step(theta: Tensor, tokens: Tensor, *rest: Tensor) -> Gradients:
            given = iter(rest)
            bound = [Lane(lane.variant, lane.rows, {name: next(given) for name in lane.scalars}) for lane in lanes]
            masks = {site: next(given) for site in sites}
            return self._eager(theta, tokens, bound, _Given(masks) if masks else None)

        with _one_at_a_time(key):
            traced = make_fx(step)(*inputs)
            options = {"compile_threads": 1, "cpp.threads": torch.get_num_threads()}
            compiled: Compiled = inductor.compile(traced, inputs, options=options)
        return compiled


class _Recorder(Dropout):
    """Drops nothing, and notes where it was asked to."""

    def __init__(self) -> None:
        super().__init__([], [], [])
        self.sites: list[Site] = []

    def __call__(self, x: Tensor, site: str) -> Tensor:
        self.sites.append((site, x.shape, x.dtype))
        return x


class _Given(Dropout):
    """Dropout by masks that were drawn before."""

    def __init__(self, masks: dict[str, Tensor]) -> None:
        super().__init__([], [], [])
        self._masks = masks

    def __call__(self, x: Tensor, site: str) -> Tensor:
        return x * self._masks[site]


@lru_cache(maxsize=1)
def compiler_fault() -> str | None:
    """Why nothing can be compiled here, said once on standard error; None if it can."""
    compiler, fault = os.environ.get("CXX", "g++"), None
    if shutil.which(compiler) is None:
        fault = f"no C++ compiler ({compiler}) on this machine"
    else:
        folder = _cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            fault = f"{folder} cannot be written ({error.strerror})"
    if fault:
        print(f"compile: {fault}; going on without", file=sys.stderr)
    return fault


def _cache_folder() -> Path:
    """Where compiled functions are kept: as torch's environment says, else beside the prepared data."""
    return Path(os.environ.setdefault(CACHE, str(data_root() / ".compiled")))


@contextmanager
def _one_at_a_time(key: str) -> Iterator[None]:
    """Only one process of this machine compiles the same thing; the next one finds it in the cache."""
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    with (_cache_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _aligned(row: Tensor) -> Tensor:
    """A row that begins as a tensor of its own would: where numbers lie must not decide how they are rounded."""
    return row if row.data_ptr() % ALIGNED == 0 else row.clone()
