"""One iteration of all members: loss, gradient, clip and update, eager or as one compiled function.

For a compiled one the eager code is run once with tracers in place of tensors (`make_fx`), forward, backward and
optimizer in one flat graph, and inductor makes one C++ function of it. Nothing of Python is left in it, so there are no
breaks.

On a CPU a graph is of one lane, and of any number of members: who comes and goes never compiles anything anew. On a GPU
a graph is of the whole stack as it stands, since there a small model is bound by the number of kernels.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.fx import GraphModule

from tunemax.gpt import plugins
from tunemax.gpt.compile.decompositions import decompositions
from tunemax.gpt.compile.library import Compiled, Traced, compiled, compiler_fault, digest, share_cache_folder, without
from tunemax.gpt.config import Config
from tunemax.gpt.lanes import Drop, Lane, Observer
from tunemax.gpt.layout import Layout
from tunemax.gpt.matmul import current_route
from tunemax.gpt.model import losses, objective
from tunemax.gpt.optimizer import Optimizer, Rows, Update, clip_, clipped
from tunemax.gpt.random import Dropout

TYPICAL = 8
"""Members that a graph of any number of them is laid out for."""
WINDOWS = 32
"""The same of windows, in an evaluation."""

PACKAGES = ("tunemax", "pydantic", "abc", "builtins")
"""Packages whose classes are known: this one's code is in every name, the others come with a release."""

Found = tuple[Tensor, Tensor]
"""Loss (K,) in nats a token, and the gradient (K, P) or its norm before clipping (K,)."""
Site = tuple[str, torch.Size, torch.dtype]

_known: dict[str, Compiled] = {}  # of this process; trainers of equal shapes share it
_failed: set[str] = set()  # keys of functions that could not be made, so that no other trainer takes its time over them
_sites: dict[str, list[Site]] = {}


@dataclass(frozen=True)
class Eager:
    """An iteration as torch computes it, operation by operation."""

    layout: Layout
    config: Config
    """Of any member: its fields that all of them share."""
    name: ClassVar[str] = "eager"

    @property
    def bf16(self) -> bool:
        return self.config.train.precision == "bf16"

    @property
    def optimizer(self) -> Optimizer:
        return self.config.optimizer

    def prepare(self, rows: Rows, tokens: Tensor, lanes: Sequence[Lane], dropout: Dropout | None) -> None:
        """Nothing has to be."""

    def __call__(
        self, rows: Rows, tokens: Tensor, lanes: Sequence[Lane], updates: Sequence[Update], dropout: Dropout | None
    ) -> Found:
        """Train for one iteration: rows change in place. tokens: (K, B, T + 1)."""
        loss, grad = self.gradient(rows.theta, tokens, lanes, dropout)
        norms = clip_(grad, torch.tensor([update.clip for update in updates], dtype=grad.dtype, device=grad.device))
        with torch.no_grad():
            rows.count.add_(1)
            self.optimizer.step_(rows, grad, self.layout.columns, updates)
        return loss, norms

    def gradient(self, theta: Tensor, tokens: Tensor, lanes: Sequence[Lane], dropout: Drop | None) -> Found:
        """Loss (K,), and its gradient (K, P)."""
        theta = theta.detach().requires_grad_()
        with torch.autocast(theta.device.type, torch.bfloat16, enabled=self.bf16):
            loss, minimised = objective(self.layout.split(theta), tokens, self.config, lanes, dropout)
        (grad,) = torch.autograd.grad(minimised.sum(), theta)
        return loss.detach(), grad

    def evaluate(self, theta: Tensor, tokens: Tensor, lanes: Sequence[Lane], observe: Observer | None = None) -> Tensor:
        """Loss of each target, (K, B, T), without dropout; nothing changes. tokens: (K, B, T + 1)."""
        with torch.no_grad(), torch.autocast(theta.device.type, torch.bfloat16, enabled=self.bf16):
            return losses(self.layout.split(theta), tokens, self.config, lanes, observe=observe)


@dataclass(frozen=True)
class _Part:
    """Members that one call of a compiled function trains: a lane on a CPU, everybody on a GPU."""

    rows: slice
    lanes: tuple[Lane, ...]
    numbers: tuple[Tensor, ...]
    key: str
    any_number: bool
    """Whether its graph takes any number of members."""


class Graphs:
    """An iteration as compiled functions, one for each code path. What cannot be compiled here is left to `eager`.

    key: what all members share, such as shapes and precision, in words; equal ones share what was compiled.
    """

    def __init__(self, eager: Eager, key: str) -> None:
        # Each registered variant may add columns to theta, so a key tells all of them.
        columns = hashlib.sha256(repr(eager.layout.parameters).encode()).hexdigest()
        self._eager, self._key = eager, f"{key} {eager.optimizer.name} {columns}"
        self._parts: list[_Part] = []
        share_cache_folder()
        if fault := compiler_fault():
            _tell(fault)
        self._working = fault is None
        """False once something has kept it from compiling an iteration."""
        self._evaluates = True
        """The same of an evaluation; without compiled training nobody tries."""

    @property
    def name(self) -> str:
        """How members are trained, in words."""
        if not self._working:
            return self._eager.name
        return "compiled" if self._evaluates else "compiled but for evaluation"

    def prepare(self, rows: Rows, tokens: Tensor, lanes: Sequence[Lane], dropout: Dropout | None) -> None:
        """Compile what these members need, which takes a minute or less, or load it. Nothing changes."""
        self._parts = list(self._divided(rows.theta, lanes)) if self._working else []
        for part, key, drop in self._calls(tokens, dropout):
            if drop and key not in _sites:
                _sites[key] = self._dropped(part, rows.theta[part.rows], tokens[part.rows])
            if not self._has(key, part, partial(self._iteration, key, part, rows, tokens, drop)):
                self._working = False
                return

    def __call__(
        self, rows: Rows, tokens: Tensor, lanes: Sequence[Lane], updates: Sequence[Update], dropout: Dropout | None
    ) -> Found:
        """As `Eager`; these lanes must have been prepared, and dropout with them."""
        if not self._working:
            return self._eager(rows, tokens, lanes, updates, dropout)
        found = []
        for part, key, drop in self._calls(tokens, dropout):
            found.append(_known[key](*self._inputs(key, part, rows, tokens, updates, drop)))
        rows.count.add_(1)
        loss, norms = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*found, strict=True))
        return loss, norms

    def evaluate(self, theta: Tensor, tokens: Tensor, lanes: Sequence[Lane], observe: Observer | None = None) -> Tensor:
        """As `Eager`; observed, or on a GPU, by it."""
        if not self._working or not self._evaluates or observe is not None or theta.device.type != "cpu":
            return self._eager.evaluate(theta, tokens, lanes, observe)
        found: list[Tensor] = []
        for part in self._divided(theta, lanes):
            key = f"{part.key} evaluation {tokens.shape[2]}"
            inputs = [theta[part.rows], tokens[part.rows].contiguous(), *part.numbers]
            if not self._has(key, part, partial(self._evaluation, part, inputs), "evaluation "):
                self._evaluates = False
                return self._eager.evaluate(theta, tokens, lanes)
            found += _known[key](*inputs)
        return torch.cat(found)

    def _divided(self, theta: Tensor, lanes: Sequence[Lane]) -> Iterator[_Part]:
        kind = f"{self._key} {theta.dtype} {theta.device} {torch.get_num_threads()} threads {current_route()}"
        if theta.device.type != "cpu":
            paths = [(lane.variant.code_path, lane.rows.start, lane.rows.stop) for lane in lanes]
            numbers = tuple(value for lane in lanes for value in lane.numbers)
            yield _Part(slice(0, len(theta)), tuple(lanes), numbers, f"{kind} {paths}", any_number=False)
            return
        for lane in lanes:
            alone, key = replace(lane, rows=slice(None)), f"{kind} {lane.variant.code_path}"
            yield _Part(lane.rows, (alone,), lane.numbers, key, any_number=True)

    def _calls(self, tokens: Tensor, dropout: Dropout | None) -> Iterator[tuple[_Part, str, Dropout | None]]:
        """Each part with its dropout, and the key of the function that trains it, another one where anything drops."""
        for part in self._parts:
            drop = dropout.of(part.rows) if dropout else None
            yield part, f"{part.key} {tuple(tokens.shape[1:])} {drop is not None}", drop

    def _inputs(
        self, key: str, part: _Part, rows: Rows, tokens: Tensor, updates: Sequence[Update], drop: Dropout | None
    ) -> list[Tensor]:
        """What the function of a part is called with."""
        own, batch = rows[part.rows], tokens[part.rows]
        masks: list[Tensor] = []
        if drop:
            sites = [(site, torch.Size((len(batch), *shape)), dtype) for site, shape, dtype in _sites[key]]
            masks = [drop.mask(*site).to(batch.device) for site in sites]
        optimizer = self._eager.optimizer
        numbers = [(update.clip or math.inf, *optimizer.coefficients(update)) for update in updates[part.rows]]
        numbers = numbers or [(0.0,) * (1 + optimizer.width)] * len(batch)  # of a trace, which looks at shapes only
        coefficients = torch.tensor(numbers, dtype=own.theta.dtype, device=own.theta.device)
        return [own.theta, *own.moments, coefficients, batch, *part.numbers, *masks]

    def _dropped(self, part: _Part, theta: Tensor, tokens: Tensor) -> list[Site]:
        """Where the model drops, in order, with the shape that a member has there; found by running it."""
        sites: list[Site] = []

        def record(x: Tensor, site: str) -> Tensor:
            sites.append((site, x.shape[1:], x.dtype))
            return x

        with torch.no_grad(), torch.autocast(theta.device.type, torch.bfloat16, enabled=self._eager.bf16):
            objective(self._eager.layout.split(theta), tokens, self._eager.config, part.lanes, record)
        return sites

    def _has(self, key: str, part: _Part, trace: Callable[[], Traced], what: str = "") -> bool:
        """Whether there is a compiled function of this key by now; if not, a line has said why."""
        try:
            if key not in _known and key not in _failed:
                kinds = [*self._eager.config.kinds, *(type(lane.variant) for lane in part.lanes)]
                code = [_elsewhere(kind) for kind in kinds] if part.any_number else []
                _known[key] = compiled(f"{key} {code}", trace) if part.any_number else _in_memory(*trace())
        except Exception as error:  # whatever torch stumbles over in a graph: training goes on without
            reason = str(error).strip().splitlines()
            _tell(f"{what}failed ({reason[0] if reason else type(error).__name__})")
            _failed.add(key)
        return key in _known

    def _iteration(self, key: str, part: _Part, rows: Rows, batch: Tensor, drop: Dropout | None) -> Traced:
        """The graph of an iteration. It changes theta and the moments in place, and returns losses and norms."""
        inputs = self._inputs(key, part, rows, batch, [], drop)
        sites = [site for site, _, _ in _sites[key]] if drop else []
        columns, optimizer = self._eager.layout.columns, self._eager.optimizer
        kept = len(optimizer.moments)

        def step(theta: Tensor, *rest: Tensor) -> Found:
            moments, (coefficients, tokens, *others) = rest[:kept], rest[kept:]
            given = iter(others)
            lanes = [lane.with_numbers(given) for lane in part.lanes]
            masks = {site: next(given) for site in sites}
            dropped: Drop | None = (lambda x, site: x * masks[site]) if masks else None
            loss, grad = self._eager.gradient(theta, tokens, lanes, dropped)
            grad, norms = clipped(grad, coefficients[:, 0])
            after = optimizer.step(theta, grad, moments, columns, coefficients[:, 1:])
            for row, new in zip((theta, *moments), after, strict=True):
                row.copy_(new)
            return loss, norms

        return _traced(step, inputs, [(TYPICAL,) if part.any_number else ()] * len(inputs))

    def _evaluation(self, part: _Part, inputs: list[Tensor]) -> Traced:
        """The graph of an evaluation, of any number of windows."""

        def evaluate(theta: Tensor, tokens: Tensor, *numbers: Tensor) -> tuple[Tensor]:
            given = iter(numbers)
            return (self._eager.evaluate(theta, tokens, [lane.with_numbers(given) for lane in part.lanes]),)

        return _traced(evaluate, inputs, [(TYPICAL,), (TYPICAL, WINDOWS), *[(TYPICAL,)] * len(part.numbers)])


@lru_cache
def _tell(reason: str) -> None:
    """Once in a process, however many trainers it makes."""
    print(without(reason), file=sys.stderr)


def _in_memory(graph: GraphModule, inputs: Sequence[Tensor]) -> Compiled:
    """A function of this process alone."""
    import torch._inductor as inductor

    made: Compiled = inductor.compile(graph, list(inputs), options={"compile_threads": 1})
    return made


def _traced(function: Callable[..., Any], inputs: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> Traced:
    """The graph of a function, and the tracers that it was found with.

    sizes: of each input the leading dimensions that stay open, with the sizes that the graph is laid out for.
    """
    from torch._functorch.compile_utils import fx_graph_cse  # a second or two, and only for those who compile
    from torch.fx.experimental.proxy_tensor import make_fx

    mode, tracers = _tracers(inputs, sizes)
    with mode:
        traced = make_fx(function, decompositions())(*tracers)
    traced.graph = fx_graph_cse(traced.graph)  # what is computed in two places is computed once
    traced.recompile()
    return traced, tracers


def _elsewhere(part: type) -> str:
    """The code of a part that is defined outside this package, with its bases, but not of what these import.

    Raises RuntimeError for one without a file, as in a notebook: nobody could tell when it has changed.
    """
    known = plugins.behind([part])
    modules = frozenset[str]().union(*(plugin.modules for plugin in known))
    ours = [
        each
        for each in part.__mro__
        if each.__module__ not in modules and each.__module__.partition(".")[0] not in PACKAGES
    ]
    try:
        loose = [digest(Path(inspect.getfile(each)) for each in ours)] if ours else []
        return " ".join([plugin.digest for plugin in known] + loose)
    except (TypeError, OSError):
        raise RuntimeError(f"{part.__name__} is defined in no file") from None


def _tracers(inputs: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> tuple[Any, list[Any]]:
    """Stand-ins for tensors, and their mode; of open dimensions a graph, and its name, do not know the size."""
    from torch._dynamo.source import ConstantSource
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    mode, tracers = FakeTensorMode(shape_env=ShapeEnv()), []
    for place, (each, typical) in enumerate(zip(inputs, sizes, strict=True)):
        rest = each.shape[len(typical) :]
        kinds: Any = [DimDynamic.DUCK] * len(typical) + [DimDynamic.STATIC] * len(rest)
        context: Any = StatelessSymbolicContext(dynamic_sizes=kinds)
        like = each.new_empty((*typical, *rest))
        tracers.append(mode.from_tensor(like, symbolic_context=context, source=ConstantSource(f"input{place}")))
    return mode, tracers
