"""What the compiler is given instead of torch's operations is the same function, to the last digits of float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tunemax.gpt import matmul
from tunemax.gpt.compile.decompositions import decompositions

aten = torch.ops.aten
X = torch.cat((torch.linspace(-12, 12, 4801), torch.tensor([0.0, -0.0, 1e-30, 60.0, -60.0])))
ROWS = X[:4800].view(8, 6, 100)
NUMBERS = torch.randn(3, 40, 32, generator=torch.Generator().manual_seed(1))
INPUTS: dict[Any, Sequence[Any]] = {
    aten.gelu.default: (X,),
    aten.gelu_backward.default: (torch.linspace(-3, 3, len(X)), X),
    aten._softmax.default: (ROWS, -1, False),
    aten._log_softmax.default: (ROWS, -1, False),
    aten.bmm.default: (NUMBERS, NUMBERS[:, :8].mT.contiguous()),
    aten.baddbmm.default: (NUMBERS[:, :1, :7], NUMBERS, NUMBERS[:, :7].mT.contiguous()),
}


@pytest.fixture(autouse=True)
def usual_route() -> None:
    matmul.take("default")


@pytest.mark.parametrize("operation", decompositions(), ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_each_is_the_operation_it_stands_for(operation: Any, dtype: torch.dtype) -> None:
    inputs = [each.to(dtype) if isinstance(each, Tensor) else each for each in INPUTS[operation]]
    exact = operation(*(each.double() if isinstance(each, Tensor) else each for each in inputs))
    found = decompositions()[operation](*inputs)
    if found is NotImplemented:
        found = operation(*inputs)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), exact, rtol=1e-6, atol=3e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("operation", [aten.gelu.default, aten.gelu_backward.default], ids=str)
def test_gelu_is_as_exact_as_torchs_own(operation: Any) -> None:
    inputs = INPUTS[operation]
    exact = operation(*(each.double() for each in inputs))

    def error(compute: Callable[..., Tensor]) -> float:
        return float((compute(*inputs).double() - exact).abs().max())

    assert error(decompositions()[operation]) <= 2 * error(operation)


def test_gelu_of_bf16_is_rounded_once() -> None:
    x = X.bfloat16()
    found, exact = decompositions()[aten.gelu.default](x), aten.gelu(x.double())
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.double(), exact, rtol=2**-8, atol=1e-6)


def test_only_a_narrow_product_is_turned() -> None:
    bmm = decompositions()[aten.bmm.default]
    narrow, wide = NUMBERS[:, :8].mT, NUMBERS[:, :9].mT
    assert bmm(NUMBERS, narrow).stride() == (320, 1, 40)  # (N, 8, 40) in memory
    assert bmm(NUMBERS, wide) is NotImplemented
    assert bmm(NUMBERS[:, :8], narrow) is NotImplemented
    assert bmm(NUMBERS.bfloat16(), narrow.bfloat16()) is NotImplemented
