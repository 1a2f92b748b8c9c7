"""Who multiplies this machine's matrices: which library, measured once and remembered, and whether bf16 pays.

A route is a choice of a whole process. Nothing here happens on import: `tunemax train` and the worker processes of a
study ask for it, and a program that uses the package as a library is left as it is.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import pydantic

from tunemax.gpt import hardware
from tunemax.gpt.config import Config
from tunemax.gpt.data import data_root
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import explain
from tunemax.gpt.files import write_whole
from tunemax.gpt.lazy import torch
from tunemax.gpt.paths import inside
from tunemax.gpt.trust import fault, make_private, own_folder

if TYPE_CHECKING:
    from torch import Tensor

Route = Literal["default", "onednn"]
"""Who multiplies fp32 matrices on the CPU. default: what torch takes by itself, MKL in its usual builds."""
ROUTES: tuple[Route, ...] = get_args(Route)
PRECISION = {"default": "highest", "onednn": "medium"}
"""torch's own switch. "medium" only allows bf16, but with AMX it is bf16: hence the look at the error."""
FORCED = "TUNEMAX_MATMUL"
"""Environment variable that names a route and spares the measurement; one that is not fp32 is refused all the same."""
SMALLEST = 16**3
"""Multiplications of a product that torch still leaves to its default library (`mkldnn_gemm_min_size` in ATen)."""
GAIN = 1.15
"""How much faster a route must be to be taken."""
ROUNDS = 7
Pairs = list[tuple["Tensor", "Tensor"]]
SHAPES = ((8, 256, 32, 128), (1, 768, 64, 256), (4, 768, 128, 512), (1, 2048, 192, 768), (96, 64, 16, 64))
"""(K, rows, in, out) of the products to measure: linear layers of small GPTs, and attention in the last."""


class Measured(pydantic.BaseModel):
    """What was found on a machine. Errors are relative to float64, the larger of all SHAPES."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    route: Route
    reason: str
    """In words, why this route."""
    gflops: float
    """fp32 matrix products on one thread with the default route, in 10⁹ operations a second."""
    errors: dict[Route, float]
    gain: float | None = None
    """How much faster oneDNN is; None where it was not timed."""


def choose() -> Measured:
    """The route for this machine, by a measurement of a second or two the first time.

    Raises TunemaxError if the environment asks for a route that this machine cannot take in fp32.
    """
    return _forced() or remembered()


def route_for(config: Config) -> Route:
    """The route for trainings of this configuration: the chosen one, unless their products are too small for it.

    torch gives oneDNN what is above SMALLEST, and what is below to its default library, by the size of a whole stack: a
    member with smaller products would have other bits beside few neighbours than beside many.
    """
    tokens, width = config.model.block_size, config.model.n_embd
    products = [tokens * width * min(tokens, width)]
    if config.optimizer.multiplies:  # the smallest may be keys' with one head
        products.append(width * config.attention.head_width(config.model) ** 2)
    return choose().route if min(products) > SMALLEST else "default"


def take(route: Route) -> None:
    """Multiply fp32 matrices of this process by this route from now on."""
    torch.set_float32_matmul_precision(PRECISION[route])


def current_route() -> Route:
    """The route of this process, whoever has chosen it."""
    return "default" if torch.get_float32_matmul_precision() == PRECISION["default"] else "onednn"


def remembered() -> Measured:
    """What was measured on this machine, now or before; at each start where the folder cannot be written."""
    place = memory_of_it()
    try:
        if not fault(place):
            return Measured.model_validate_json(place.read_bytes())
    except OSError:  # it is not there, or what is wrong with the folder shows when it is written
        pass
    except pydantic.ValidationError as error:
        print(f"{place}: unreadable ({explain(error)}); this machine is measured again", file=sys.stderr)
    found = measure()
    try:
        make_private(place.parent)
        write_whole(place, found.model_dump_json(indent=1).encode())
    except OSError as error:
        print(f"{place}: cannot be written ({error.strerror}); this machine is measured at each start", file=sys.stderr)
    return found


def memory_of_it() -> Path:
    """The file that remembers what was measured on this machine."""
    return inside(own_folder(data_root() / ".machines"), f"{hardware.machine()}.json")


def measure() -> Measured:
    """Compare the routes on this machine: exactness first, and speed only where it is the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _judge(_pairs())
    finally:
        torch.set_num_threads(threads)


def _judge(pairs: Pairs) -> Measured:
    speeds = _speeds(pairs)
    errors = {route: _errors(route, pairs) for route in ROUTES}
    measured = partial(Measured, gflops=statistics.median(speeds["default"]), errors=errors)
    fault = _onednn_fault(pairs) or ("this processor has no other route" if _same(pairs) else None)
    if fault:
        return measured(route="default", reason=fault)
    gain = statistics.median(b / a for a, b in zip(speeds["default"], speeds["onednn"], strict=True))
    if gain < GAIN:
        return measured(route="default", reason=f"oneDNN is only {gain:.2f} times as fast", gain=gain)
    return measured(route="onednn", reason=f"oneDNN is {gain:.2f} times as fast", gain=gain)


def _forced() -> Measured | None:
    """What the environment asks for, checked but not timed."""
    named = os.environ.get(FORCED)
    if not named:
        return None
    if named not in ROUTES:
        raise TunemaxError(f"{FORCED} = {named}: expected {' or '.join(ROUTES)}, or nothing to have it measured")
    route: Route = "onednn" if named == "onednn" else "default"
    if not allowed(route):
        raise TunemaxError(f"{FORCED} = {named}: would not be exact fp32 on this machine; leave it unset")
    pairs = _pairs()
    errors = {each: _errors(each, pairs) for each in ROUTES}
    gflops = statistics.median(_speeds(pairs)["default"])
    return Measured(route=route, reason=f"{FORCED} asks for it", gflops=gflops, errors=errors)


def allowed(route: Route) -> bool:
    """Whether fp32 stays fp32 by this route, for each member by itself, however fast it may be."""
    return route == "default" or _onednn_fault(_pairs()) is None


def _onednn_fault(pairs: Pairs) -> str | None:
    """Why oneDNN may not be taken here; None if it may."""
    if hardware.has_gpu():
        return "there is a GPU, whose arithmetic the same switch would change"
    error, usual = _errors("onednn", pairs), _errors("default", pairs)
    if not error < 5 * usual:  # another order of a sum costs a factor of 2 or 3, a product in bf16 or tf32 a thousand
        return f"oneDNN is not fp32 here: its error is {error:.1e}, not {usual:.1e}"
    return None if _each_by_itself(pairs) else "with oneDNN a member's numbers would depend on its neighbours"


def _same(pairs: Pairs) -> bool:
    """Whether the switch changes nothing at all."""
    results = []
    for route in ROUTES:
        with _taken(route):
            results.append([product for pair in pairs for product in _products(*pair)])
    return all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def _each_by_itself(pairs: Pairs) -> bool:
    """Whether stacked members get, in every bit, what each would get alone."""
    with _taken("onednn"):
        for a, b in pairs:
            alone = [_products(a[i : i + 1], b[i : i + 1]) for i in range(len(a))]
            whole = [torch.cat(parts) for parts in zip(*alone, strict=True)]
            if not all(torch.equal(one, other) for one, other in zip(whole, _products(a, b), strict=True)):
                return False
    return True


def _errors(route: Route, pairs: Pairs) -> float:
    """The largest relative error of the products, by norm, against float64."""
    exact = [product for a, b in pairs for product in _products(a.double(), b.double())]
    with _taken(route):
        products = [product for a, b in pairs for product in _products(a, b)]
    return max(float((got - right).norm() / right.norm()) for got, right in zip(products, exact, strict=True))


def _speeds(pairs: Pairs) -> dict[Route, list[float]]:
    """10⁹ operations a second over all products, round by round; the routes take turns."""
    work = sum(3 * 2 * a.shape[0] * a.shape[1] * a.shape[2] * b.shape[2] for a, b in pairs)
    found: dict[Route, list[float]] = {route: [] for route in ROUTES}
    for number in range(-1, ROUNDS):
        for route in ROUTES:
            with _taken(route):
                start = time.perf_counter()
                for pair in pairs:
                    _products(*pair)
                if number >= 0:  # the first one of all builds what later ones reuse
                    found[route].append(work / (time.perf_counter() - start) / 1e9)
    return found


def _products(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """A layer's products: forward, and backward to its input and to its weight."""
    out = torch.bmm(a, b)
    return out, torch.bmm(out, b.mT), torch.bmm(a.mT, out)


def _pairs() -> Pairs:
    """Factors of the products to measure, one pair of each of SHAPES."""
    pairs = []
    for stack, rows, inputs, outputs in SHAPES:
        draw = torch.Generator().manual_seed(rows * outputs)
        a, b = torch.randn(stack, rows, inputs, generator=draw), torch.randn(stack, inputs, outputs, generator=draw)
        pairs.append((a, b * inputs**-0.5))
    return pairs


@contextmanager
def _taken(route: Route) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    take(route)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def bf16_fault(device: str) -> str | None:
    """A line that says so if bf16 would be slow on this device: a CPU without instructions for it takes more steps."""
    if device == "auto":
        device = "cuda" if hardware.has_gpu() else "cpu"
    if device != "cpu" or (flags := hardware.cpu_flags()) is None or flags & {"avx512_bf16", "amx_bf16", "bf16"}:
        return None
    return "precision = bf16: this CPU has no instructions for it, so it is slower than fp32; use --precision fp32 here"
