"""What an agent sees of a training: a few numbers, normalised by constants, so that no statistics travel with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from tunemax.envs.controls import BASE, GAMMA, Dial
from tunemax.envs.variation import HORIZON, Varied
from tunemax.gpt.config import Config
from tunemax.gpt.fields import shown
from tunemax.gpt.schedule import lr_factor
from tunemax.gpt.softmax import Variant
from tunemax.gpt.trainer import Member, Trainer

Observation = npt.NDArray[np.float32]

LIMIT = 10.0
"""Every number of an observation is clipped at ±LIMIT."""
FAST, SLOW = 0.5, 0.9
"""Decay of the fast and the slow averages, a step."""


@dataclass(frozen=True)
class Feature:
    """One number of an observation: (raw − centre) / scale."""

    name: str
    help: str
    centre: float = 0.0
    scale: float = 1.0


FEATURES = (
    Feature("progress", "share of the horizon that is over", 0.5, 0.5),
    Feature("loss", "log of the validation loss, relative to the start", 0.0, 0.5),
    Feature("fast_slope", "change of the log loss a step, average of the last two or so", 0.0, 0.05),
    Feature("slow_slope", "the same over the last ten or so", 0.0, 0.05),
    Feature("gap", "validation loss minus training loss of the step, in nats", 0.0, 0.5),
    Feature("gradient", "log of the norm of the gradient", 0.0, 2.0),
    Feature("noise", "how far that log is from its average, as a moving root mean square", 0.0, 0.5),
    Feature("update", "log10 of the change of the weights in a step, relative to their norm", -2.0, 1.0),
    Feature("schedule", "factor of the learning rate's schedule at the next iteration", 0.5, 0.5),
    Feature("row_sum", "log of the mean sum of a row of attention weights; 0 if normalised", 0.0, 3.0),
    Feature("guarded", "share of attention entries at which the variant's guard acts", 0.0, 0.1),
    Feature("beta_mean", "constantmax: mean of β over the layers", 2.5, 5.0),
    Feature("beta_std", "its standard deviation", 0.0, 1.0),
    Feature("log_gamma_mean", "constantmax: mean of ln γ", 4.5, 5.0),
    Feature("log_gamma_std", "its standard deviation", 0.0, 1.0),
    Feature("gain_mean", "constantmax: mean of g = −β·ln b − ln γ", -7.0, 5.0),
    Feature("gain_std", "its standard deviation", 0.0, 1.0),
    Feature("width", "log2 of n_embd", 5.0, 2.0),
    Feature("depth", "log2 of n_layer", 1.0, 2.0),
    Feature("step", "share of the horizon that a step takes", 0.05, 0.05),
)
"""What every task shows, in this order; each dial adds its place between its bounds and the last action on it, and each
field that varies what it is: a number, or one for each value that is no number."""


NO_CONSTANTS: Mapping[str, float] = {
    feature.name: feature.centre for feature in FEATURES if feature.name.endswith(("_mean", "_std"))
}
"""What a variant without constantmax's constants shows of them: the centres, which are 0 in the observation."""


class Features:
    """The observation of a task with these dials and fields that vary: its names, its space, what its numbers mean."""

    def __init__(self, dials: Sequence[Dial], varied: Mapping[str, Varied] | None = None) -> None:
        places = [Feature(f"at/{dial.name}", "where it is between its bounds, in [-1, 1]") for dial in dials]
        actions = [Feature(f"last/{dial.name}", "the last action on it") for dial in dials]
        self._varied = varied or {}
        own = [feature for name, each in self._varied.items() for feature in _features_of(name, each)]
        self.all = (*FEATURES, *places, *actions, *own)
        self.names = tuple(feature.name for feature in self.all)
        self._centres = np.array([feature.centre for feature in self.all])
        self._scales = np.array([feature.scale for feature in self.all])

    def of_config(self, config: Config) -> dict[str, float]:
        """What a training is of the fields that vary, raw; the middle for a field that it does not have."""
        held = {**config.held(), HORIZON: config.train.max_iters}
        raw: dict[str, float] = {}
        for name, each in self._varied.items():
            if each.numeric:
                raw[f"is/{name}"] = each.place(held[name]) if name in held else each.range[0]
            else:
                raw |= {f"is/{name}={shown(value)}": float(held.get(name) == value) for value in each.values}
        return raw

    @property
    def space(self) -> spaces.Box:
        return spaces.Box(-LIMIT, LIMIT, (len(self.all),), np.float32)

    def normalised(self, raw: Sequence[Mapping[str, float]]) -> Observation:
        """Observations (n, features) of raw values by name; what is not finite lies at the limit."""
        numbers = (np.array([[of[name] for name in self.names] for of in raw]) - self._centres) / self._scales
        finite = np.nan_to_num(numbers, nan=LIMIT, posinf=LIMIT, neginf=-LIMIT)
        return np.asarray(np.clip(finite, -LIMIT, LIMIT), dtype=np.float32)

    def raw(self, observation: npt.ArrayLike, name: str) -> float:
        """What stands behind one number of an observation (features,), unless it was clipped."""
        place = self.names.index(name)
        feature = self.all[place]
        return float(np.asarray(observation)[place]) * feature.scale + feature.centre


def _features_of(name: str, varied: Varied) -> list[Feature]:
    if varied.numeric:
        about = f"where {name} lies in what training draws, in [-1, 1], mostly by its logarithm"
        return [Feature(f"is/{name}", about, *varied.range)]
    return [Feature(f"is/{name}={shown(value)}", f"1 if {name} is that") for value in varied.values]


@dataclass(frozen=True)
class Constants:
    """β and ln γ of constantmax, one a layer and, if SGD learns them so, a head; nothing of other variants.

    features: mean and standard deviation of β, ln γ and g, by the names of the features.
    """

    beta: tuple[float, ...] = ()
    log_gamma: tuple[float, ...] = ()
    features: Mapping[str, float] = field(default_factory=lambda: NO_CONSTANTS)


@dataclass(frozen=True)
class Measure:
    """What is measured of one member after a step.

    loss: on the task's validation windows, in nats a token. update: norm of the weights' change, relative to theirs.
    row_sum: mean sum of a row of attention weights. guarded: share of guarded entries. constants: constantmax's.
    """

    loss: float
    train_loss: float
    grad_norm: float
    update: float
    row_sum: float
    guarded: float
    constants: Constants


def measure(
    trainer: Trainer, members: list[Member], windows: npt.NDArray[Any], before: Tensor | None = None
) -> dict[Member, Measure]:
    """Measure members of a trainer, in its order, on windows (n, T + 1). before: its `rows()` when the step began."""
    if not members:
        return {}
    changes = _changes(trainer, members, before).tolist()
    attention = _attention(trainer, members, windows).T.tolist()
    constants = _constants(trainer, members)
    result = {}
    for member, change, (loss, row_sum, guarded) in zip(members, changes, attention, strict=True):
        seen = loss, member.train_loss, member.grad_norm, change, row_sum, guarded
        result[member] = Measure(*seen, constants.get(member, Constants()))
    return result


def _attention(trainer: Trainer, members: list[Member], windows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Loss, mean row sum and share of guarded entries of each member on windows (n, T + 1): (3, members)."""

    def sums(variant: Variant, logits: Tensor, mask: Tensor) -> list[Tensor]:
        row_sums = variant.weights(logits, mask).sum(-1).mean((1, 2, 3))  # (k,), of logits (k, B, H, T, T)
        guarded = variant.guarded(logits, mask).sum((1, 2, 3, 4)) / (mask.sum() * logits.shape[1] * logits.shape[2])
        return [row_sums, guarded]

    total = np.zeros((3, len(members)))
    for losses, layers in trainer.passes(members, windows, sums):
        total[0] += losses.sum(1)
        by_layer = torch.stack([torch.stack(measured) for measured in layers])  # (L, 2, members)
        total[1:] += by_layer.mean(0).double().cpu().numpy() * losses.shape[1]
    return total / len(windows)


def _changes(trainer: Trainer, members: list[Member], before: Tensor | None) -> npt.NDArray[np.float64]:
    """Norm of the change of each member's parameters, relative to their norm, (members,); NaN if nothing was before."""
    if before is None:
        return np.full(len(members), math.nan)
    change = torch.linalg.vector_norm(trainer.rows() - before, dim=1) / torch.linalg.vector_norm(before, dim=1)
    return np.asarray(change.double().cpu().numpy()[[trainer.members.index(member) for member in members]])


def _constants(trainer: Trainer, members: list[Member]) -> dict[Member, Constants]:
    """Those of the members that have constantmax, of one code path at a time."""
    result: dict[Member, Constants] = {}
    for _, group in itertools.groupby(members, key=lambda member: member.config.code_path):
        alike = list(group)
        if GAMMA not in alike[0].values:
            continue
        learned = {name: values.flatten(1) for name, values in trainer.learnables_of(alike).items()}
        count = max((values.shape[1] for values in learned.values()), default=trainer.model.n_layer)
        beta, gamma = (
            learned[name].double().numpy() if name in learned else _of_values(alike, f"constantmax.{name}", count)
            for name in ("beta", "gamma")
        )
        rate = np.log(_of_values(alike, BASE, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            log_gamma = np.log(gamma)
            gains = -beta * rate - log_gamma
            stats = [each for values in (beta, log_gamma, gains) for each in (values.mean(1), values.std(1))]
        columns = (beta.tolist(), log_gamma.tolist(), np.stack(stats, 1).tolist())
        for member, own_beta, own_gamma, features in zip(alike, *columns, strict=True):
            of_member = dict(zip(NO_CONSTANTS, features, strict=True))
            result[member] = Constants(tuple(own_beta), tuple(own_gamma), of_member)
    return result


def _of_values(members: list[Member], name: str, count: int) -> npt.NDArray[np.float64]:
    """A field of each member, (members, count)."""
    return np.repeat(np.array([[float(member.values[name])] for member in members]), count, axis=1)


@dataclass
class Watch:
    """What is remembered of one training between its steps: averages, and what the next observation is relative to."""

    first: float = math.nan
    """Log of the loss at the start."""
    last: float = math.nan
    fast: float = 0.0
    slow: float = 0.0
    gradient: float = math.nan
    spread: float = 0.0
    """Moving mean of the squared deviation of the log gradient norm."""
    action: list[float] = field(default_factory=list)

    def see(self, found: Measure, log_loss: float, action: Sequence[float]) -> None:
        """Take in a measure. log_loss: what its loss counts as; for a diverged training that is not what was seen."""
        if math.isnan(self.first):
            self.first = self.last = log_loss
        slope = log_loss - self.last
        self.fast = FAST * self.fast + (1 - FAST) * slope
        self.slow = SLOW * self.slow + (1 - SLOW) * slope
        self.last = log_loss
        if math.isfinite(found.grad_norm):
            log_norm = _log(found.grad_norm)
            self.gradient = log_norm if math.isnan(self.gradient) else self.gradient
            self.spread = FAST * self.spread + (1 - FAST) * (log_norm - self.gradient) ** 2
            self.gradient = FAST * self.gradient + (1 - FAST) * log_norm
        self.action = list(action)

    def raw(self, found: Measure, member: Member, frame_skip: int, dials: Sequence[Dial]) -> dict[str, float]:
        """Every feature by name, before it is normalised."""
        train, model = member.config.train, member.config.model
        started = member.iteration > 0
        return {
            "progress": member.iteration / train.max_iters,
            "loss": self.last - self.first,
            "fast_slope": self.fast,
            "slow_slope": self.slow,
            "gap": found.loss - found.train_loss if started else 0.0,
            "gradient": _log(found.grad_norm) if started else 0.0,
            "noise": math.sqrt(self.spread),
            "update": math.log10(found.update) if started and found.update > 0 else -2.0,
            "schedule": lr_factor(train, member.iteration),
            "row_sum": _log(found.row_sum),
            "guarded": found.guarded,
            **found.constants.features,
            "width": math.log2(model.n_embd),
            "depth": math.log2(model.n_layer),
            "step": frame_skip / train.max_iters,
            **{f"at/{dial.name}": dial.unit(dial.read(member.values)) for dial in dials},
            **{f"last/{dial.name}": action for dial, action in zip(dials, self.action, strict=True)},
        }


def _log(value: float) -> float:
    """A logarithm that takes 0 and what is not finite as they come."""
    return math.log(value) if 0 < value < math.inf else (value if value else -math.inf)
