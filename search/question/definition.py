"""What a study is: its complete definition, and the sibling studies that follow from it.

A definition is complete: default ranges, the compared values and the file's name are written out in it, so that the
copy in Optuna's storage means the same after the fields' defaults have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pydantic
from optuna.samplers import BaseSampler

from tunemax.gpt.config import PARTS, SPELT, Config, all_specs, resolve
from tunemax.gpt.defaults import SCHEMA, defaults_of, of_their_time
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Choices, Value, explain
from tunemax.gpt.parts import Part
from tunemax.gpt.plugins import PluginRecord, records
from tunemax.gpt.softmax import Variant
from tunemax.gpt.text_config import Text
from tunemax.search.question.budget import GRID_LIMIT, Budget
from tunemax.search.question.dimension import (
    Dimension,
    Space,
    active_dimensions,
    conditional,
    defaults,
    extremes,
    inert_everywhere,
    shown,
)
from tunemax.search.question.named import STORED
from tunemax.search.question.pruners import Median, Pruner
from tunemax.search.question.samplers import Before, Sampler, Task, Tpe
from tunemax.search.question.stages import Confirm, Confirms, Repeat

ELSEWHERE = "it may be damaged, or come from a newer tunemax or a plug-in that is not installed"
"""What is said of a stored definition that is not understood."""
INNER = ("schema_version", "fingerprint", "direction", "own", "confirms", "repeat")
"""Parts of a definition that no study file has."""


class StudyDefinition(pydantic.BaseModel):
    """A question, complete and checked. Made by `load_study_file` or `define`; stored as JSON beside its trials."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: int = pydantic.Field(1, ge=1, le=SCHEMA)
    """Whose defaults hold for fields that are not named: see `tunemax.gpt.defaults`. Of 1, each worker draws points of
    its own: see `samplers.Before`. Up to 2 there is no ladder: see `ladder.rungs`."""
    question: str = pydantic.Field(min_length=1, description="what the study is to answer, in a sentence")
    name: str = pydantic.Field(min_length=1, max_length=100, description="name of the study; default: the file's name")
    data: str = pydantic.Field(
        "python_stdlib",
        min_length=1,
        description="python_stdlib, shakespeare_char, or the path of a text file or folder",
    )
    fingerprint: str | None = None
    direction: Literal["minimize", "maximize"] = "minimize"
    base: dict[str, Value] = pydantic.Field(default_factory=dict, description="fields that are the same in all trials")
    per: str | None = pydantic.Field(
        None, description="field with one sibling study for each of its values, each tuned on its own"
    )
    compare: tuple[Value, ...] = pydantic.Field((), description="values of `per`; default: all of them")
    candidates: dict[str, dict[str, Value]] = pydantic.Field(
        default_factory=dict,
        description="named alternatives of any fields, one sibling study each; what a candidate names holds in it in "
        "place of what base and space say",
    )
    space: dict[str, Dimension] = pydantic.Field(description="fields to search, each with its range")
    own: dict[str, dict[str, Dimension]] = pydantic.Field(default_factory=dict)
    """Where a candidate searches another range than `space` says: by its name. `space` then has the range that holds
    all of them."""
    sampler: pydantic.SerializeAsAny[Sampler] = Tpe()
    pruner: pydantic.SerializeAsAny[Pruner] = Median()
    budget: Budget
    confirm: Confirm | None = pydantic.Field(
        None,
        description="train the winners anew on fresh seeds when all trials are done; a number of seeds, or these keys",
    )
    confirms: Confirms | None = None
    repeats: int = pydantic.Field(
        1, ge=1, le=20, description="how often the whole tuning is done, each time with another seed"
    )
    repeat: Repeat | None = None
    seed: int = pydantic.Field(
        1, ge=0, le=2**53, description="tuning seed: of the sampler, and the same for every trial"
    )
    workers: int | None = pydantic.Field(
        None,
        ge=1,
        le=1024,
        description="worker processes of `study run`; default: as calibrated, else 2, or 1 on a single core",
    )
    slots: int | None = pydantic.Field(
        None,
        ge=1,
        le=4096,
        description="members that a worker trains at once; default: as calibrated, else 8, on a CPU 2 to 8 by size",
    )

    def siblings(self) -> dict[str, dict[str, Value]]:
        """The Optuna studies of this question: name to the flat values that are fixed in all its trials.

        `max_iters` is one of them unless it follows from each trial's configuration: see `budget`.
        """
        if self.confirms:
            winners = self.confirms.winners.items()
            siblings = {f"{self.name}/{name}": of_their_time(frozen.fields) for name, frozen in winners}
            for fields in siblings.values():
                fields.pop("seed", None)
                fields |= self._length(fields.pop("max_iters", None))
                fields |= {"dataset": self.data, "eval_slice": "confirmation"}
            return siblings
        fixed = {**self.since, **self.base, "dataset": self.data, "seed": self.seed, **self._length(None)}
        if not self.compared:
            return {self.name: fixed}
        return {f"{self.name}/{candidate}": {**fixed, **fields} for candidate, fields in self.compared.items()}

    @property
    def text(self) -> Text:
        """What all its trials are trained on."""
        fixed = next(iter(self.siblings().values()))
        return Config.of({name: fixed[name] for name in Text.model_fields if name in fixed}).train.text

    @property
    def compared(self) -> Mapping[str, Mapping[str, Value]]:
        """The candidates, which have a study each: name to the fields that are its own. None of a single study."""
        return bundles(self.per, self.compare) if self.per else self.candidates

    @property
    def since(self) -> dict[str, Value]:
        """Defaults of its time that are others now, of fields that it neither names nor searches."""
        named = {*self.base, *self.space, self.per}
        return {name: value for name, value in defaults_of(self.schema_version).items() if name not in named}

    @property
    def kept(self) -> str | None:
        """Which defaults of its time it keeps, in a sentence; None of a question by those of now."""
        if self.confirms:  # of whole configurations
            return None
        kept = [f"{name} {shown(value)}" for name, value in self.since.items() if name != "eval_by"]  # see `rule`
        return f"Begun when other defaults held, and goes on with those: {', '.join(kept)}." if kept else None

    @property
    def idle(self) -> list[str]:
        """Of each field in base that means nothing in any sibling, a sentence."""
        named = [name for name in self.base if name != SPELT and not self.confirms]
        reasons = {name: inert_everywhere(name, self.spaces) for name in named}
        return [f"base.{name} changes nothing: it {reason}." for name, reason in reasons.items() if reason]

    def begin(self, fixed: Mapping[str, Value]) -> dict[str, Value]:
        """All flat values of a sibling with these fixed ones before anything is chosen: by the defaults of its time."""
        return {**defaults(fixed), **defaults_of(self.schema_version), **fixed}

    @property
    def rule(self) -> str | None:
        """How its losses are measured, where that is not how they are measured now; a sentence."""
        if all(fixed.get("eval_by") != "windows" for fixed in self.siblings().values()):
            return None
        return (
            "Measured by the old rule: on eval_iters × batch_size validation windows, and one training loss above the "
            "cap is a divergence. Its trials are not to be mixed with those of other questions."
        )

    def _length(self, tuned: Value | None) -> dict[str, Value]:
        """Iterations, where all trials of a sibling have as many. tuned: those of the winner that is confirmed."""
        if self.budget.horizon is not None:
            return {"max_iters": self.budget.horizon}
        if self.budget.seconds is not None and self.confirms and tuned is not None:
            return {"max_iters": self.confirms.factor * int(tuned)}  # seconds became iterations when it was tuned
        return {}

    def dimensions(self, fixed: Mapping[str, Value]) -> dict[str, Dimension]:
        """The dimensions of the sibling with these fixed values, each behind those that its condition names."""
        return active_dimensions(self.space_of(fixed), fixed)

    def space_of(self, fixed: Mapping[str, Value]) -> Mapping[str, Dimension]:
        """The space of the sibling with these fixed values: what is the candidate's own is no dimension there."""
        if not (self.own or self.candidates):
            return self.space
        telling = {name for fields in self.compared.values() for name in fields}
        for (candidate, fields), values in zip(self.compared.items(), self.siblings().values(), strict=False):
            if all(fixed.get(name) == values.get(name) for name in telling):
                space = {**self.space, **self.own.get(candidate, {})}
                return {name: dimension for name, dimension in space.items() if name not in fields}
        return self.space

    @property
    def spaces(self) -> list[tuple[Space, Mapping[str, Value]]]:
        """That of each sibling, with what is fixed in it."""
        return [(self.space_of(fixed), fixed) for fixed in self.siblings().values()]

    def space_in(self, study_name: str) -> Mapping[str, Dimension]:
        """The space of the sibling of this name."""
        return self.space_of(self.siblings().get(study_name, {}))

    def make_sampler(self, study_name: str, worker: int, begun: int = 0) -> BaseSampler:
        """The sampler of one worker for one sibling study.

        worker: its index. begun: how many trials the study has begun; none of its points are repeated after a restart.
        Raises TunemaxError if a package is missing.
        """
        nested = conditional(self.dimensions(self.siblings()[study_name]))
        kind = Task if self.schema_version > 1 else Before  # until 1 each worker drew start-up points of its own
        task = kind(self.seed, self.budget.trials, nested, self.pruner.prunes, worker, begun, tuple(self.space))
        return self.sampler.make(task)

    @property
    def startup(self) -> int | None:
        """Known and random trials that the search of each sibling begins with; None if it never learns from results."""
        if "startup" not in self.sampler.takes:
            return None
        return self.sampler.startup_of(Task(self.seed, self.budget.trials))

    def trials_of(self, study_name: str) -> int:
        """How many trials a sibling is to have."""
        winner = self.confirms.winners[study_name.removeprefix(f"{self.name}/")] if self.confirms else None
        return winner.seeds if winner and winner.seeds else self.budget.trials

    def apart(self, study_name: str) -> int:
        """What is added to the seeds of a sibling: see `Frozen.apart`."""
        winner = self.confirms.winners.get(study_name.removeprefix(f"{self.name}/")) if self.confirms else None
        return winner.apart if winner else 0

    def with_fingerprint(self, fingerprint: str) -> StudyDefinition:
        """This definition, tied to the data that it will be trained on."""
        return self.model_copy(update={"fingerprint": fingerprint})

    def with_trials(self, trials: int) -> StudyDefinition:
        """This definition, with so many trials for each sibling."""
        return self.model_copy(update={"budget": self.budget.model_copy(update={"trials": trials})})

    def check_limits(self, there: int = 0) -> None:
        """Raise TunemaxError if it is beyond what a study may be: it was extended, or made of another one.

        there: trials that every sibling has already; as many are no growth.
        """
        grown = self.budget.trials > there
        within = self if grown else self.with_trials(min(self.budget.trials, GRID_LIMIT))
        try:
            StudyDefinition.model_validate_json(within.to_json())
            for seed in extremes(all_specs()["seed"], self.space["seed"]) if self.confirms else ():
                all_specs()["seed"].check(seed)
        except pydantic.ValidationError as error:
            raise TunemaxError(f"{self.name}: {explain(error)}") from error
        except TunemaxError as error:
            raise TunemaxError(f"{self.name}: {error}") from error

    @property
    def plugins(self) -> tuple[PluginRecord, ...]:
        """Those that the parts which it names come from."""
        named = ((_family(name), value) for name, value in _named(self))
        return records(family.find(str(value)) for family, value in named if family and value is not None)

    def to_json(self) -> str:
        return self.model_dump_json(exclude=None if self.candidates else {"candidates"})  # which older ones do not know

    @classmethod
    def from_json(cls, text: str) -> StudyDefinition:
        """The definition that `to_json` wrote. Raises TunemaxError if this tunemax does not understand it: it is
        damaged, of a newer version, or names what a plug-in has brought that is not installed."""
        try:
            definition = cls.model_validate_json(text, context=STORED)
        except pydantic.ValidationError as error:
            raise TunemaxError(f"{explain(error)}; {ELSEWHERE}") from error
        try:
            _check_names(definition)
        except TunemaxError as error:
            raise TunemaxError(f"{error}; {ELSEWHERE}") from error
        return definition


def bundles(per: str, compare: Sequence[Value]) -> dict[str, dict[str, Value]]:
    """The candidates that differ in one field: by its value as it is shown."""
    return {shown(value): {per: value} for value in compare}


def _named(definition: StudyDefinition) -> list[tuple[str, Value | None]]:
    """The fields that it names, with each value that it gives them; None for a range."""
    given: list[tuple[str, Value | None]] = [*definition.base.items()]
    given += [(definition.per, value) for value in definition.compare or (None,) if definition.per]
    given += [item for fields in definition.candidates.values() for item in fields.items()]
    for name, dimension in definition.space.items():
        given += [(name, value) for value in (dimension.values if isinstance(dimension, Choices) else (None,))]
    for winner in definition.confirms.winners.values() if definition.confirms else ():
        given += winner.fields.items()
    return given


def _family(name: str) -> type[Part] | None:
    """Of the kinds that a field's values name."""
    field = resolve(name)
    return Variant if field == "softmax_variant_output" else PARTS.get(field)


def _check_names(definition: StudyDefinition) -> None:
    """Raise TunemaxError if a field or a variant is not known here."""
    for name, value in _named(definition):
        if (family := _family(name)) and value is not None:
            family.find(str(value))
