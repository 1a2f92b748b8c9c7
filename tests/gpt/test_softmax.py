"""What is particular to single variants, and the registry that finds them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.softmax import GUARD, Variant, find_variant, variants
from tunemax.gpt.softmax.constantmax import Constantmax, ConstantmaxQuan, SaturatingConstantmax
from tunemax.gpt.softmax.normalised import Sigsoftmax, SigsoftmaxBase2, Softermax, Softmax
from tunemax.gpt.softmax.pfla import KNOTS, REACH, PflaSoftmax
from tunemax.gpt.softmax.polymax import ExpPolymax, Polymax
from tunemax.gpt.softmax.sparse import Entmax15, Sparsemax, SteArgmax
from tunemax.gpt.softmax.strongermax import Strongermax
from tunemax.gpt.trainer import Trainer

Make = Callable[..., Config]

ANY = torch.ones(1, 1, dtype=torch.bool)


def weights(variant: Variant, *logits: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """The weights of one row in which every key is allowed."""
    return variant.weights(torch.tensor([logits], dtype=dtype), ANY.expand(1, len(logits)))[0]


def slopes(variant: Variant, *logits: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """For an elementwise variant, the derivative of each weight by its own logit."""
    row = torch.tensor([logits], dtype=dtype, requires_grad=True)
    return torch.autograd.grad(variant.weights(row, ANY.expand(1, len(logits))).sum(), row)[0][0]


# --- registry ---------------------------------------------------------------------------------------------------------


def test_an_alias_finds_its_variant_and_is_not_listed() -> None:
    assert find_variant("consmax") is Constantmax
    assert "consmax" not in variants()
    assert Config.of({"softmax_variant": "consmax"}).model.softmax_variant == "constantmax"


def test_an_unknown_variant_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(TunemaxError, match="softmax_variant = sofermax: no such variant; did you mean `softermax`"):
        find_variant("sofermax")


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(TypeError, match="'consmax' is taken by Constantmax"):
        type("Other", (Variant,), {"__module__": __name__, "weights": Softmax.weights}, name="consmax")
    assert find_variant("consmax") is Constantmax


# --- constantmax ------------------------------------------------------------------------------------------------------


def test_only_g_matters_to_constantmax_with_base_e() -> None:
    """g = −β − ln γ: β 1 higher and γ e times smaller are the same function."""
    logits = (-3.0, 0.0, 4.5)
    same = weights(Constantmax(beta=3.5, gamma=100 / math.e), *logits)
    torch.testing.assert_close(same, weights(Constantmax(beta=2.5, gamma=100), *logits), rtol=1e-12, atol=0)
    g = -2.5 - math.log(100)
    torch.testing.assert_close(
        same, torch.tensor([math.exp(x + g) for x in logits], dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_the_form_of_gamma_decides_how_it_is_held() -> None:
    assert Constantmax().learned() == {"beta": "raw", "gamma": "log"}
    assert Constantmax(gamma_form="raw", learn_beta=False).learned() == {"gamma": "raw"}
    assert Constantmax(learn_beta=False, learn_gamma=False).learned() == {}


@pytest.mark.parametrize("name", GUARD)
def test_the_guard_holds_a_weight_constant_without_gradient(name: str) -> None:
    variant = Constantmax(beta=0.0, gamma=1.0)
    limit, dtype = GUARD[name], getattr(torch, name)
    row = weights(variant, limit - 1, limit + 1, 1e4, dtype=dtype).double()
    assert row.tolist() == pytest.approx([math.exp(limit - 1), math.exp(limit), math.exp(limit)], rel=1e-2)
    slope = slopes(variant, limit - 1, limit + 1, 1e4, dtype=dtype)
    assert slope[0] > 0
    assert slope[1:].tolist() == [0, 0]


# --- polymax ----------------------------------------------------------------------------------------------------------


def test_polymax_passes_its_three_points() -> None:
    row = weights(Polymax(x0=-50, y0=0.8, power=3, divisor=10), -60, -50, -25, 0, 2)
    assert row.tolist() == pytest.approx([0, 0, 0.04, 0.08, 0.88])
    assert row[:2].tolist() == [0, 0]


@pytest.mark.parametrize("joint", [-100.0, 0.0])
def test_polymax_is_continuous(joint: float) -> None:
    row = weights(Polymax(power=2.5, divisor=1), joint - 1e-9, joint, joint + 1e-9)
    assert row.tolist() == pytest.approx([row[1].item()] * 3, abs=1e-9)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.5, 5.0])
def test_fractional_powers_have_finite_gradients_everywhere(power: float) -> None:
    logits = (-1e4, -100.0, -1.0, -1e-30, 0.0, 1e-30, 1e-3, 1.0, 2.0, 1e4)
    variant = Polymax(power=power, y0=0.5, divisor=4)
    for dtype in (torch.float64, torch.float32):
        assert weights(variant, *logits, dtype=dtype).isfinite().all()
        assert slopes(variant, *logits, dtype=dtype).isfinite().all()
    slope = slopes(variant, -200, -7, 0.5, 2)
    assert slope.tolist() == pytest.approx(
        [0, 0.5 / 100 / 4, power * 0.5 ** (power - 1) / 4, power * 2 ** (power - 1) / 4]
    )


def test_polymax_never_exceeds_the_guard() -> None:
    assert slopes(Polymax(power=16, divisor=1), 1, 1e4, dtype=torch.float32).tolist() == pytest.approx([16, 0])
    variant = Polymax(power=8, divisor=1)
    assert weights(variant, 42, 43, 1e4, dtype=torch.float32).tolist() == pytest.approx(
        [42**8, math.exp(30), math.exp(30)], rel=1e-5
    )
    assert weights(variant, 1.5, 1e4, dtype=torch.float16).tolist() == pytest.approx(
        [1.5**8 + 1, math.exp(5)], rel=1e-3
    )


# --- strongermax ------------------------------------------------------------------------------------------------------


def test_strongermax_starts_as_softmax() -> None:
    logits = (1.0, -2.0, 3.0)
    torch.testing.assert_close(weights(Strongermax(), *logits), weights(Softmax(), *logits), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        weights(Strongermax(strength=2), *logits), weights(Softermax(), *logits), rtol=1e-12, atol=0
    )


def test_obo_is_added_to_the_sum_after_the_maximum_is_subtracted() -> None:
    """So a shift of the whole row changes nothing; with a guess it does."""
    total = 2 + 1 + math.exp(-1)
    for shift in (0.0, 50.0, -50.0):
        row = weights(Strongermax(obo=2), 5 + shift, 4 + shift)
        assert row.tolist() == pytest.approx([1 / total, math.exp(-1) / total])
    row = weights(Strongermax(obo=2, maximum="guess", guess=3), 5, 4)
    total = 2 + math.exp(2) + math.exp(1)
    assert row.tolist() == pytest.approx([math.exp(2) / total, math.exp(1) / total])


def test_a_guess_far_from_the_maximum_neither_overflows_nor_loses_the_row() -> None:
    guess = Strongermax(maximum="guess", guess=0)
    assert weights(guess, 1e4, 1e4).tolist() == [0.5, 0.5]
    assert weights(guess, -1e4, -1e4).tolist() == [0.5, 0.5]
    assert weights(guess.model_copy(update={"obo": 1.0}), -1e4, -1e4).tolist() == [0, 0]
    assert weights(guess.model_copy(update={"obo": 1.0}), 1e4, 1e4).tolist() == [0.5, 0.5]


def test_undivided_strongermax_with_a_guess_is_constantmax() -> None:
    variant = Strongermax(divide_by_sum=False, maximum="guess", guess=2.5, divisor=100)
    torch.testing.assert_close(weights(variant, -1, 0, 6), weights(Constantmax(), -1, 0, 6), rtol=1e-12, atol=0)


def test_sequence_length_is_the_rows_own() -> None:
    mask = torch.ones(3, 3, dtype=torch.bool).tril()
    sums = Strongermax(div_by_seq_len=True).weights(torch.zeros(3, 3), mask).sum(dim=-1)
    assert sums.tolist() == pytest.approx([1, 1 / 2, 1 / 3])


def test_clamp_cuts_logits_before_the_maximum_is_taken() -> None:
    assert weights(Strongermax(clamp=True, clamp_value=25), 25, 60, 24).tolist() == pytest.approx(
        [part / (2 + math.exp(-1)) for part in (1, 1, math.exp(-1))]
    )


def test_a_learned_obo_may_not_start_at_zero() -> None:
    with pytest.raises(TunemaxError, match=r"strongermax: obo = 0 cannot start SGD with learn_obo.*> 0"):
        Config.of({"softmax_variant": "strongermax", "strongermax.learn_obo": True})
    assert Strongermax(learn_obo=True, obo=0.5).learned() == {"obo": "softplus"}


def test_what_strongermax_does_not_use_is_not_learned() -> None:
    assert Strongermax().learned() == {}
    assert Strongermax(learn_obo=True, divide_by_sum=False).learned() == {}
    assert Strongermax(learn_temperature=True, sharing="head").per_head


def test_rows_of_strongermax_sum_to_1_unless_it_is_told_otherwise() -> None:
    def total(**changes: Any) -> float:
        return float(weights(Strongermax(**changes), -3.0, 0.0, 4.5).sum())

    assert total(strength=3, temperature=2, clamp=True) == pytest.approx(1)
    for changes in ({"obo": 1.0}, {"divisor": 2.0}, {"divide_by_sum": False}, {"div_by_seq_len": True}):
        assert total(**changes) != pytest.approx(1)


# --- the other normalised ones ----------------------------------------------------------------------------------------


def test_softermax_without_subtraction_saturates_and_says_where() -> None:
    plain, guarded = Softermax(), Softermax(subtract_max=False)
    torch.testing.assert_close(weights(guarded, -20, 3, 20), weights(plain, -20, 3, 20), rtol=1e-12, atol=0)
    assert weights(guarded, 60, 50).tolist() == [0.5, 0.5]
    logits = torch.tensor([[60.0, 20.0, -60.0]])
    assert guarded.guarded(logits, ANY).tolist() == [[True, False, True]]
    assert not plain.guarded(logits, ANY).any()


def test_sigsoftmax_base2_of_base_e_is_sigsoftmax() -> None:
    logits = (-5.0, 0.0, 4.0)
    torch.testing.assert_close(
        weights(SigsoftmaxBase2(base=math.e), *logits), weights(Sigsoftmax(), *logits), rtol=1e-12, atol=0
    )


# --- rounded, sparse and learned ones --------------------------------------------------------------------------------


def test_rounding_has_the_gradients_of_what_it_rounds_to() -> None:
    logits = (-3.0, 0.0, 4.5)
    rounded, exact = ConstantmaxQuan(beta=2.504, gamma=99.96), Constantmax(beta=2.5, gamma=100.0)
    assert torch.equal(weights(rounded, *logits), weights(exact, *logits))
    assert torch.equal(slopes(rounded, *logits), slopes(exact, *logits))
    gradients = []
    for variant, beta, gamma in ((rounded, 2.504, 99.96), (exact, 2.5, 100.0)):
        leaves = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (beta, gamma)]
        total = weights(variant.bind(dict(zip(("beta", "gamma"), leaves, strict=True))), *logits).sum()
        gradients.append(torch.stack(torch.autograd.grad(total, leaves)))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)
    assert weights(ConstantmaxQuan(gamma=1e-6), 2.5).tolist() == pytest.approx([10]), "one step at least"


def test_the_largest_logit_has_it_all_and_the_gradient_is_softmaxs() -> None:
    assert weights(SteArgmax(), 1.0, 3.0, 3.0, -2.0).tolist() == [0, 1, 0, 0]
    logits = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    towards = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    own, soft = (
        torch.autograd.grad(variant.weights(logits, ANY.expand(1, 3)), logits, towards)[0]
        for variant in (SteArgmax(), Softmax())
    )
    assert torch.equal(own, soft)


def test_projections_give_exact_zeros_and_fewer_the_more_alike_logits_are() -> None:
    assert weights(Sparsemax(), 0.0, 0.5, 2.0).tolist() == [0, 0, 1]
    assert weights(Sparsemax(), 0.0, 0.5, 1.0).tolist() == pytest.approx([0, 0.25, 0.75])
    assert weights(Entmax15(), 0.0, 0.0).tolist() == pytest.approx([0.5, 0.5])
    assert (weights(Entmax15(), 0.0, 0.5, 1.0) > 0).all()


def test_the_saturating_one_goes_on_flat_and_counts_that_as_guarded() -> None:
    variant = SaturatingConstantmax(beta=1.0, gamma=10.0, saturation=2.0)
    row = weights(variant, 2.0, 3.0, 3.0 + 1e-9, 8.0)
    assert row.tolist() == pytest.approx([math.exp(part) / 10 for part in (1, 2, 2, 2)])
    assert variant.guarded(torch.tensor([[2.0, 2.9, 3.1, 8.0]]), ANY).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("power", [1.25, 2.0, 3.5])
def test_exppolymax_is_joined_in_value_and_slope(power: float) -> None:
    variant = ExpPolymax(power=power, base=3.0, divisor=2.0)
    assert weights(variant, -1e-9, 0.0, 1e-9).tolist() == pytest.approx([0.5] * 3, abs=1e-8)
    assert slopes(variant, -1e-9, 1e-9).tolist() == pytest.approx([math.log(3) / 2] * 2, abs=1e-6)


def test_a_curve_starts_as_what_it_is_asked_for_and_every_knot_can_be_moved() -> None:
    knots = torch.linspace(-REACH, REACH, KNOTS, dtype=torch.float64)
    plain = PflaSoftmax(divide_by_sum=False, height=1.0)
    torch.testing.assert_close(weights(plain, *knots.tolist()), knots.exp(), rtol=1e-9, atol=0)
    heights = torch.ones(1, KNOTS, dtype=torch.float64, requires_grad=True)
    moved = plain.bind({"height": heights}).weights(knots[None], ANY.expand(1, KNOTS))
    moved.sum().backward()
    assert heights.grad is not None
    torch.testing.assert_close(heights.grad[0], knots.exp(), rtol=1e-9, atol=0)


def test_a_curve_learns_a_number_for_each_knot_and_is_kept_whole(small: Make, corpus: Corpus) -> None:
    config = small(softmax_variant="pfla_softmax", pfla_softmax__sharing="head", learning_rate=0.01)
    trainer = Trainer(config, corpus)
    member = trainer.add(config)
    before = trainer.snapshot(member).tensors["theta/h.0.pfla_softmax.height"]
    trainer.step(3)
    snapshot = trainer.snapshot(member)
    assert before.shape == (2, KNOTS)
    assert (snapshot.tensors["theta/h.0.pfla_softmax.height"] != before).any(dim=0).sum() > 2
    assert trainer.learnables(member)["height"].shape == (2, 2)
    other = Trainer(config, corpus)
    restored = other.restore(snapshot)
    assert torch.equal(other.rows(), trainer.rows())
    assert other.learnables(restored).keys() == {"height"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("polymax.x0", 0.0),
        ("polymax.power", 0.5),
        ("strongermax.strength", 1.0),
        ("constantmax.gamma", 0.0),
        ("strongermax.temperature", 0.0),
    ],
)
def test_values_outside_a_formulas_domain_are_refused(field: str, value: float) -> None:
    with pytest.raises(TunemaxError, match=field.replace(".", r"\.")):
        Config.of({"softmax_variant": field.partition(".")[0], field: value})
