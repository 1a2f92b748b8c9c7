"""What every optimizer promises, run over all that are registered; and that its numbers are those of its paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tunemax.gpt.compile import library
from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.data import Corpus
from tunemax.gpt.optimizer import Optimizer, Rows, Update
from tunemax.gpt.parameters import ROLES, Columns, Matrix
from tunemax.gpt.random import generator
from tunemax.gpt.testing.optimizers import FIELDS, OF_A_SETTING, PROMISES, SHAPES, columns_of, several
from tunemax.gpt.trainer import Trainer

Make = Callable[..., Config]
Numbers = np.ndarray[Any, Any]
Promise = Callable[[str, Sequence[dict[str, Any]]], None]
Oracle = Callable[[Mapping[str, Any], Numbers, Sequence[Numbers], str, float, float], Numbers]
"""From fields, one parameter, its gradients, its role, its rate and its decay: the parameter after all updates."""

OTHERS: dict[str, list[dict[str, Any]]] = {
    "adamw": [{"beta1": 0.5, "beta2": 0.9}],
    "lion": [{"beta1": 0.5, "beta2": 0.9}],
    "sgd": [{"nesterov": False}, {"momentum": 0.0}, {"momentum": 0.5}],
    "muon": [
        {"nesterov": False, "adamw_lr_ratio": 0.3},
        {"momentum": 0.5, "beta1": 0.5, "beta2": 0.9},
        {"muon_scale": "spectral"},
    ],
}
"""Settings besides the defaults."""
SETTINGS = [(name, fields) for name in Optimizer.kinds() for fields in ({}, *OTHERS.get(name, []))]
over_settings = pytest.mark.parametrize(("name", "fields"), SETTINGS, ids=str)
over_optimizers = pytest.mark.parametrize("name", Optimizer.kinds())


# ---- the formulas, as the papers have them, for one parameter --------------------------------------------------------


def adamw(p: Mapping[str, Any], x: Numbers, grads: Sequence[Numbers], role: str, rate: float, decay: float) -> Numbers:
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, 1):
        m = p["beta1"] * m + (1 - p["beta1"]) * g
        v = p["beta2"] * v + (1 - p["beta2"]) * g**2
        direction = (m / (1 - p["beta1"] ** t)) / (np.sqrt(v / (1 - p["beta2"] ** t)) + 1e-8)
        x = x - rate * (direction + decay * x)
    return x


def lion(p: Mapping[str, Any], x: Numbers, grads: Sequence[Numbers], role: str, rate: float, decay: float) -> Numbers:
    m = np.zeros_like(x)
    for g in grads:
        u = np.sign(p["beta1"] * m + (1 - p["beta1"]) * g)
        m = p["beta2"] * m + (1 - p["beta2"]) * g
        x = x - rate * (u + decay * x)
    return x


def sgd(p: Mapping[str, Any], x: Numbers, grads: Sequence[Numbers], role: str, rate: float, decay: float) -> Numbers:
    m = np.zeros_like(x)
    for g in grads:
        m = p["momentum"] * m + g
        x = x - rate * ((g + p["momentum"] * m if p["nesterov"] else m) + decay * x)
    return x


def muon(p: Mapping[str, Any], x: Numbers, grads: Sequence[Numbers], role: str, rate: float, decay: float) -> Numbers:
    if role != "hidden":
        return adamw(p, x, grads, role, rate * p["adamw_lr_ratio"], decay)
    m = np.zeros_like(x)
    inputs, outputs = x.shape
    size = 0.2 * math.sqrt(max(inputs, outputs)) if p["muon_scale"] == "rms" else math.sqrt(max(1, outputs / inputs))
    for g in grads:
        m = p["momentum"] * m + g
        u = g + p["momentum"] * m if p["nesterov"] else m
        # The odd polynomial of a matrix is that polynomial of its singular values
        left, values, right = np.linalg.svd(u, full_matrices=False)
        values = values / np.linalg.norm(values)
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        x = x - rate * (size * left @ np.diag(values) @ right + decay * x)
    return x


ORACLES: dict[str, Oracle] = {"adamw": adamw, "lion": lion, "sgd": sgd, "muon": muon}


def side_by_side(by_role: Mapping[str, Sequence[Numbers]]) -> Tensor:
    """A row (P,) of parameters."""
    first, second, *others = by_role["hidden"]
    hidden = [np.concatenate((first, second), axis=1), *others]
    parts = [part.ravel() for role in ROLES for part in (hidden if role == "hidden" else by_role[role])]
    return torch.from_numpy(np.concatenate(parts))


@over_settings
def test_both_forms_of_an_update_are_the_papers_to_1e_9(name: str, fields: dict[str, Any]) -> None:
    draw = np.random.default_rng(1)

    def drawn() -> dict[str, list[Numbers]]:
        return {role: [draw.normal(size=shape) for shape in shapes] for role, shapes in SHAPES.items()}

    starts, gradients = [drawn() for _ in range(3)], [[drawn() for _ in range(4)] for _ in range(3)]
    optimizer, columns = Config.of({"optimizer": name, **fields}).optimizer, columns_of(SHAPES)
    members = []
    for place in range(3):  # the third has the defaults of another setting
        values = {spec.name: spec.default for spec in all_specs().values()} | fields | FIELDS
        members.append(values | ({"beta1": 0.7, "momentum": 0.4, "beta2": 0.6} if place == 2 else {}))
    rates, hidden = (0.01, 0.1, 0.05), 0.5
    theta = torch.stack([side_by_side(start) for start in starts])
    rows = Rows.begin(theta.clone(), len(optimizer.moments))
    formula: tuple[Tensor, ...] = (theta, *Rows.begin(theta, len(optimizer.moments)).moments)
    for number in range(1, 5):
        grad = torch.stack([side_by_side(of_member[number - 1]) for of_member in gradients])
        updates = [Update.of(values, rate, number, hidden) for values, rate in zip(members, rates, strict=True)]
        steps = torch.tensor([optimizer.coefficients(update) for update in updates], dtype=torch.float64)
        assert steps.shape == (3, optimizer.width)
        now, *moments = formula
        formula = optimizer.step(now, grad.clone(), moments, columns, steps)
        rows.count.add_(1)
        optimizer.step_(rows, grad.clone(), columns, updates)
    for place, (values, rate) in enumerate(zip(members, rates, strict=True)):
        update = Update.of(values, rate, 1, hidden)
        paper = {
            role: [
                ORACLES[name](values, x, [grads[role][i] for grads in gradients[place]], role, update.rates[role],
                              update.decays[role])
                for i, x in enumerate(starts[place][role])
            ]
            for role in ROLES
        }  # fmt: skip
        assert update.rates["hidden"] == 0.5 * rate
        assert update.decays["hidden"] == 0.6
        torch.testing.assert_close(rows.theta[place], side_by_side(paper), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(formula[0][place], side_by_side(paper), rtol=1e-9, atol=1e-9)
    for own, other in zip(rows.moments, formula[1:], strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_moves_as_torchs_does(nesterov: bool) -> None:
    draw = generator(1, "sgd")
    start, *grads = torch.randn(6, 40, dtype=torch.float64, generator=draw)
    parameter = torch.nn.Parameter(start.clone())
    reference = torch.optim.SGD([parameter], lr=0.1, momentum=0.8, nesterov=nesterov)
    rows = Rows.begin(start.clone()[None], 1)
    columns = Columns({role: slice(0, 40) if role == "vector" else slice(0, 0) for role in ROLES})
    values = {"weight_decay": 0.0, "grad_clip": 0.0, "momentum": 0.8, "nesterov": nesterov}
    for number, grad in enumerate(grads, 1):
        parameter.grad = grad.clone()
        reference.step()
        Optimizer.kinds()["sgd"]().step_(rows, grad[None].clone(), columns, [Update.of(values, 0.1, number)])
    torch.testing.assert_close(rows.theta[0], parameter.detach(), rtol=1e-12, atol=1e-12)


def test_muons_moves_are_as_large_as_adamws_and_nearly_orthogonal() -> None:
    """Of any shape, so that one learning rate does for both: root mean square 0.2, singular values alike."""
    optimizer: Any = Optimizer.kinds()["muon"]()
    for rows, columns in ((64, 64), (64, 256), (256, 64)):
        momentum = torch.randn(2, rows * columns, generator=generator(1, str((rows, columns)))) * 1e-3
        move = optimizer.orthogonal(momentum, [Matrix(rows, (columns,))]).view(2, rows, columns)
        assert move.square().mean((1, 2)).sqrt().tolist() == pytest.approx([0.2, 0.2], rel=0.2)
        values = torch.linalg.svdvals(move) / (0.2 * math.sqrt(max(rows, columns)))
        assert (values > 0.6).float().mean().item() > 0.95
        assert values.max().item() < 1.3


def test_muon_turns_queries_keys_and_values_each_by_themselves(small: Make, corpus: Corpus) -> None:
    optimizer: Any = Optimizer.find("muon")()
    matrix = Trainer(small(optimizer="muon"), corpus).layout.columns.matrices[0]
    assert (matrix.rows, matrix.blocks) == (16, (16, 16, 16))
    momentum = torch.randn(1, 16, 48, generator=generator(1, "qkv"))
    move = optimizer.orthogonal(momentum.flatten(1), [matrix]).view(1, 16, 48)
    for block in range(3):
        part = slice(16 * block, 16 * block + 16)
        alone = optimizer.orthogonal(momentum[..., part].flatten(1), [Matrix(16, (16,))]).view(1, 16, 16)
        torch.testing.assert_close(move[..., part], alone, rtol=1e-5, atol=1e-6)


# ---- members ---------------------------------------------------------------------------------------------------------


@over_optimizers
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_what_every_optimizer_promises(promise: Promise, name: str) -> None:
    promise(name, OTHERS.get(name, []))


@over_settings
@pytest.mark.parametrize("promise", OF_A_SETTING, ids=lambda promise: promise.__name__)
def test_it_keeps_it_in_every_setting(promise: Callable[[str, Any], None], name: str, fields: dict[str, Any]) -> None:
    promise(name, fields)


@pytest.mark.long
@pytest.mark.timeout(900)
@over_optimizers
def test_it_is_compiled_and_trains_as_it_does_eagerly(
    name: str, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(library.CACHE, str(tmp_path / "compiled"))
    ends = []
    for compiled in (False, True):
        configs = several(name, OTHERS.get(name, []), compile=compiled, n_layer=1, n_embd=8, block_size=8)
        trainer = Trainer(configs[0], corpus)
        members = [trainer.add(config) for config in configs]
        trainer.step(5)
        assert trainer.arithmetic.startswith("compiled" if compiled else "eager")
        ends.append([trainer.evaluate()[member] for member in members])
    assert ends[1] == pytest.approx(ends[0], abs=1e-3)
