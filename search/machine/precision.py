"""Whether bf16 ranks a study's candidates as fp32 does, asked of a few of them before the study begins."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from tunemax.gpt.config import Config
from tunemax.gpt.matmul import Route
from tunemax.gpt.random import key
from tunemax.search.machine.processes import aside
from tunemax.search.question.counting import counted
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.suggest import distributions, suggest

POINTS = 6
"""Candidates that are asked, drawn at random from the space of the first sibling."""
ITERATIONS = 200
"""Of each, at most."""
SECONDS = 10.0
"""After which the fp32 half of the probe trains no further."""
CLEAR = 0.01
"""A difference of validation losses, in nats, that a ranking must not turn around."""
Losses = dict[str, list[float]]


def turned(definition: StudyDefinition, route: Route) -> str | None:
    """A line that warns if bf16 turns the order of two candidates around that fp32 tells apart; None if it does not."""
    configs = _drawn(definition)
    losses = aside(_train, configs, route=route)
    if not losses:
        return None
    pairs = itertools.combinations(zip(losses["fp32"], losses["bf16"], strict=True), 2)
    clear = [(a, b) for a, b in pairs if abs(a[0] - b[0]) > CLEAR]
    wrong = [(a, b) for a, b in clear if (a[0] < b[0]) != (a[1] < b[1])]
    if not wrong:
        return None
    gap = max(abs(a[0] - b[0]) for a, b in wrong)
    turned = f"it turned {len(wrong)} of {counted(len(clear), 'clear difference')} around"
    probe = f"in a probe of {counted(len(configs), 'candidate')} {turned}"
    return f"precision = bf16: {probe}, one of {gap:.3f} nats; tune in fp32 if near ties matter"


def _drawn(definition: StudyDefinition) -> list[Config]:
    """Candidates of the first sibling, in fp32."""
    name, fixed = next(iter(definition.siblings().items()))
    draw = np.random.default_rng(key(definition.seed, "precision", name))
    ranges = distributions(definition, fixed)
    plain = {"precision": "fp32", "compile": False}
    points = [{field: _value(over, draw) for field, over in ranges.items()} for _ in range(POINTS)]
    return [Config.of(suggest(FixedTrial(point), definition, fixed) | plain) for point in points]


def _value(over: BaseDistribution, draw: np.random.Generator) -> Any:
    if isinstance(over, CategoricalDistribution):
        return over.choices[draw.integers(len(over.choices))]
    assert isinstance(over, (FloatDistribution, IntDistribution))
    low, high = (math.log(over.low), math.log(over.high)) if over.log else (over.low, over.high)
    value = math.exp(draw.uniform(low, high)) if over.log else draw.uniform(low, high)
    if over.step:
        value = over.low + over.step * round((value - over.low) / over.step)
    return min(max(int(value) if isinstance(over, IntDistribution) else value, over.low), over.high)


def _train(configs: Sequence[Config]) -> Losses:
    """Validation losses of the candidates in both precisions, after equally many iterations."""
    from tunemax.gpt.pool import Pool

    losses: Losses = {}
    iterations, start = ITERATIONS, time.monotonic()
    for precision in ("fp32", "bf16"):
        pool = Pool()
        members = [pool.add(config.replace({"precision": precision})) for config in configs]
        for done in range(iterations):
            for trainer in pool:
                trainer.step()
            if precision == "fp32" and time.monotonic() - start > SECONDS:
                iterations = done + 1
                break
        losses[precision] = [trainer.evaluate(members=[member])[member] for trainer, member in members]
    return losses
