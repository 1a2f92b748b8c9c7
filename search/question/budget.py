"""What a trial may spend, in the unit of work that is held equal between trials, and where it is looked at meanwhile.

A trial of a larger batch or model does more in an iteration, so at equal iterations it has had more work. With a budget
in tokens, operations or seconds the iterations of each trial follow from its configuration, and trials are compared at
equal shares of the budget.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import pydantic

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.search.question.named import STORED

GRID_LIMIT = 10_000
VOCABULARY = 256
"""Of bytes: near enough for an estimate, where the text is not known."""
LOOKS = 20
SHARES = 10_000
"""Optuna's step at the end of a budget of operations or seconds, of which it needs whole numbers."""
LARGEST = 2**31 - 1
"""The largest step that every database holds; a budget of more tokens is counted in shares, too."""
FASTEST = 1e-5
"""Seconds; no iteration takes less, on any machine."""
UNITS = {
    "horizon": "iterations",
    "tokens": "tokens",
    "flops": "FLOPs",
    "seconds": "seconds of training",
}
"""Units of work, one of which a budget is in."""
ONE = {"horizon": "iteration", "tokens": "token", "flops": "FLOP", "seconds": "second of training"}
"""The same, in the singular."""


def told(unit: str, amount: float) -> str:
    """An amount of work in words: 1,000 iterations; 1.5e+12 FLOPs."""
    number = f"{amount:.3g}" if unit == "flops" else f"{amount:,}" if isinstance(amount, int) else f"{amount:,.12g}"
    return f"{number} {ONE[unit] if amount == 1 else UNITS[unit]}"


def counts(unit: str, amount: float) -> str:
    """What Optuna's steps count in a budget of so much work, as the title of an axis or a column."""
    if unit == "horizon":
        return "iteration"
    return UNITS[unit] if unit == "tokens" and amount <= LARGEST else f"{UNITS[unit]}, in 1/{SHARES:,} of the budget"


@dataclass(frozen=True)
class Course:
    """A trial's way through its budget.

    Optuna's steps count the unit that is held equal, so that trials which report at one step have had equal work, to
    the nearest iteration: tokens, or ten-thousandths of a budget of operations or seconds; else iterations.
    """

    iterations: int
    """Of the trial."""
    steps: int
    """Optuna's step at its end."""
    looks: Sequence[int]
    """The steps before that at which it is evaluated, in order."""

    def iteration(self, step: int) -> int:
        """The one that a step comes to; the first is past none."""
        return max((2 * step * self.iterations + self.steps) // (2 * self.steps), min(step, 1))

    def step(self, iteration: int) -> int | None:
        """The step of an evaluation at this iteration, the last one if a trial is so short that several are; None if
        there is none."""
        if iteration >= self.iterations:
            return self.steps
        last = self._before(iteration)
        return self.looks[last] if last >= 0 and self.iteration(self.looks[last]) == iteration else None

    def last(self, iteration: int) -> int:
        """The iteration of the last evaluation so far, this iteration's included; 0 before the first."""
        last = self._before(iteration)
        return self.iteration(self.looks[last]) if last >= 0 else 0

    def next(self, iteration: int) -> int:
        """The iteration of the next evaluation."""
        following = self._before(iteration) + 1
        return self.iteration(self.looks[following]) if following < len(self.looks) else self.iterations

    def _before(self, iteration: int) -> int:
        """The place of the last look up to this iteration, -1 if there is none."""
        return bisect_right(self.looks, iteration, key=self.iteration) - 1


class Budget(pydantic.BaseModel):
    """What each sibling study may spend: a number of trials, and one unit of work for each of them."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    trials: int = pydantic.Field(ge=1, le=GRID_LIMIT, description="trainings for each sibling; a grid may leave it out")
    horizon: int | None = pydantic.Field(None, ge=1, le=10**9, description="iterations of each trial")
    tokens: int | None = pydantic.Field(None, ge=1, le=10**15, description="tokens that each trial trains on")
    flops: float | None = pydantic.Field(
        None, gt=0, le=1e30, description="floating-point operations of each trial, 6 N + 12 L n_embd T for a token"
    )
    seconds: float | None = pydantic.Field(
        None, gt=0, le=1e9, description="seconds that each trial would train by itself, evaluations not counted"
    )
    equal: Literal["iterations"] | None = pydantic.Field(
        None, description="iterations: horizon is meant although trials differ in tokens or operations an iteration"
    )
    looks: int | None = pydantic.Field(
        None,
        ge=1,
        le=1000,
        description=f"evaluations of each trial, at equal shares of its tokens, flops or seconds; default {LOOKS}",
    )
    run_seconds: float | None = pydantic.Field(
        None, gt=0, description="no new trial starts later than this in one `study run`"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _as_stored(cls, given: Any, info: pydantic.ValidationInfo) -> Any:
        """In a stored definition from before work had units, `seconds` beside a horizon is the time of a run."""
        if info.context != STORED or "run_seconds" in given or given.get("horizon") is None:
            return given
        return {"run_seconds" if key == "seconds" else key: value for key, value in given.items()}

    @pydantic.field_validator("trials", mode="wrap")
    @classmethod
    def _as_extended(
        cls, given: Any, handler: pydantic.ValidatorFunctionWrapHandler, info: pydantic.ValidationInfo
    ) -> Any:
        """A stored study may have more: before it was refused, one could be extended beyond the limit."""
        beyond = info.context == STORED and type(given) is int and given > GRID_LIMIT
        return given if beyond else handler(given)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """A definition means the same after LOOKS has changed."""
        open_ended = isinstance(given, dict) and given.get("horizon") is None and given.get("looks") is None
        return {**given, "looks": LOOKS} if open_ended else given

    @pydantic.field_validator("tokens", mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        """2e6 is a whole number."""
        return int(given) if isinstance(given, float) and given.is_integer() else given

    @pydantic.model_validator(mode="after")
    def _one_unit(self) -> Self:
        units = [unit for unit in UNITS if getattr(self, unit) is not None]
        if not units:
            listed = ", ".join(f"{unit} ({counted})" for unit, counted in UNITS.items())
            raise ValueError(f"missing the work of a trial; write one of {listed}")
        if len(units) > 1:
            limit = "; a limit on the time of a whole run is run_seconds" if units == ["horizon", "seconds"] else ""
            raise ValueError(f"{' and '.join(units)} are {len(units)} units of work; keep one of them{limit}")
        if self.equal and self.horizon is None:
            raise ValueError(f"equal belongs to horizon; {units[0]} are held equal already, so leave it out")
        if self.looks and self.horizon is not None:
            raise ValueError("looks belongs to tokens, flops and seconds; with horizon set eval_interval in base")
        return self

    @property
    def unit(self) -> str:
        """One of UNITS."""
        return next(unit for unit in UNITS if getattr(self, unit) is not None)

    @property
    def amount(self) -> float:
        """How much work each trial is, in the unit."""
        amount: float = getattr(self, self.unit)
        return amount

    @property
    def steps(self) -> int:
        """Optuna's step at the end of a trial."""
        steps = self.horizon or self.tokens or SHARES
        return steps if steps <= LARGEST else SHARES

    @property
    def counts(self) -> str:
        """What Optuna's steps count."""
        return counts(self.unit, self.amount)

    @property
    def words(self) -> str:
        """How much work each trial is."""
        return told(self.unit, self.amount)

    def at(self, step: int) -> str:
        """Where a step is, in words."""
        if self.horizon is not None:
            return f"iteration {step:,}"
        counted = UNITS[self.unit]
        return told("tokens", step) if self.steps == self.tokens else f"{100 * step / SHARES:.4g} % of the {counted}"

    def times(self, factor: int, trials: int) -> Budget:
        """So many trials, each of so many times the work."""
        longer = {self.unit: getattr(self, self.unit) * factor}
        return self.model_copy(update={"trials": trials, "run_seconds": None, **longer})

    def iterations(self, config: Config, vocab_size: int) -> int:
        """Of a trial with this configuration. Not of a budget of seconds, which depend on the machine.

        Raises TunemaxError if it comes to none.
        """
        return self.horizon or self.spread(self.of_an_iteration(config, vocab_size))

    def of_an_iteration(self, config: Config, vocab_size: int) -> float:
        """Tokens of an iteration with this configuration; of a budget of operations, these."""
        tokens: float = config.train.batch_size * config.model.block_size
        if self.flops is None:
            return tokens
        from tunemax.gpt.cost import flops_a_token  # loads torch, which whoever only reads a study never needs

        return tokens * flops_a_token(config, vocab_size)

    def spread(self, each: float) -> int:
        """Iterations of a trial for which one costs so much in the unit. Raises TunemaxError if it comes to none."""
        iterations = round(self.amount / each)
        if self.amount < each or not iterations:
            one = f"{each:,}" if isinstance(each, int) else f"{each:.3g}"
            reason = f"is below one iteration, which takes {one} {UNITS[self.unit]}"
            raise TunemaxError(f"budget.{self.unit} = {self.amount:.6g} {reason}; take more")
        return iterations

    def course(self, config: Config) -> Course:
        """The way of a trial through this budget; `max_iters` of its configuration are its iterations."""
        total, steps = config.train.max_iters, self.steps
        if self.horizon is not None:
            every = config.train.eval_interval
            return Course(total, total, range(every, total, every))
        count = self.looks or LOOKS
        return Course(total, steps, [round(look * steps / count) for look in range(1, count)])
