"""Points of a space that no result decides: the first ones of a study, and all of `random` and `qmc`.

Point i is a function of the study's seed, i and the names of the dimensions. So it is the same whichever worker or
machine asks, and siblings have the same value in every dimension that they share: no candidate is luckier than another
in where its search begins. No two trials of a study have the same i, and nobody has to give them out: i is how many
trials were enqueued without parameters before this one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from tunemax.gpt.random import key

BITS = 30
"""Of a coordinate of a Sobol sequence."""
CELLS = 1 << BITS


class Points(BaseSampler):
    """Draws point i of a sequence for the trial that is the i-th of its kind in its study."""

    @abstractmethod
    def coordinate(self, index: int, name: str) -> float:
        """Where point `index` lies along a dimension, at least 0 and less than 1."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        known = _is_known(trial)
        before = (other for other in study.get_trials(deepcopy=False) if other.number < trial.number)
        index = sum(_is_known(other) == known for other in before)
        # What a known trial leaves out is drawn apart: it does not take a point from the others
        return value_at(self.coordinate(index, f"known/{param_name}" if known else param_name), param_distribution)


class RandomPoints(Points):
    """Independent uniform draws. words: tell several such sequences of one seed apart."""

    def __init__(self, seed: int, *words: str | int) -> None:
        self._seed, self._words = seed, words

    def coordinate(self, index: int, name: str) -> float:
        return key(self._seed, "point", *self._words, index, name) / 2**63


class SobolPoints(Points):
    """A Sobol sequence, each dimension of it under a random digital shift of its own.

    names: of all dimensions of a question, those included that only some siblings have. A name that is not among them
    is drawn independently.
    """

    def __init__(self, seed: int, names: Iterable[str]) -> None:
        self._seed = seed
        self._others = RandomPoints(seed)
        # A variant that joins later brings dimensions of its own, with a dot in their names: behind all others
        self._places = {name: place for place, name in enumerate(sorted(names, key=lambda name: ("." in name, name)))}

    def coordinate(self, index: int, name: str) -> float:
        if name not in self._places:
            return self._others.coordinate(index, name)
        from scipy.stats import qmc  # slow to load

        sequence = qmc.Sobol(len(self._places), scramble=False, bits=BITS)
        if index:
            sequence.fast_forward(index)
        place = int(sequence.random(1)[0, self._places[name]] * CELLS)
        shift = key(self._seed, "shift", name) % CELLS
        return ((place ^ shift) + 0.5) / CELLS


def value_at(coordinate: float, distribution: BaseDistribution) -> Any:
    """The value of a distribution below which this share of it lies; coordinate: at least 0 and less than 1.

    Of a logarithmic whole number, each value has the share between its two halves, as Optuna draws it.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(coordinate * len(distribution.choices))]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        margin = 0.5 if isinstance(distribution, IntDistribution) else 0.0
        start, end = math.log(low - margin), math.log(high + margin)
        drawn = math.exp(start + coordinate * (end - start))
        return min(max(round(drawn) if margin else drawn, low), high)
    if step is None:
        return min(low + coordinate * (high - low), high)
    count = round((high - low) / step) + 1
    return min(low + int(coordinate * count) * step, high)


def _is_known(trial: FrozenTrial) -> bool:
    """Whether a trial was enqueued with parameters."""
    return bool(trial.system_attrs.get("fixed_params"))
