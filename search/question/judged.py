"""A judgement as a question: two candidates with nothing to tune, and the short horizon at which both are tried."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from tunemax.gpt.config import PLACES, Config, all_specs
from tunemax.gpt.defaults import SCHEMA
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.fields import Value
from tunemax.search.question.budget import Budget
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.dimension import OWNED
from tunemax.search.question.looks import looks
from tunemax.search.question.pruners import NoPruner
from tunemax.search.question.samplers import Grid
from tunemax.search.question.stages import MOST_SEEDS

NAME = "judge-"
"""Before the digits of a judgement's name."""
FIRST = 6
"""Pairs at the first look. Fewer can settle nothing; what is clear is settled there."""
SEEDS = 24
"""Of each side, at most, unless somebody says otherwise."""
SHORT = 8
"""The short horizon is this part of the asked one, if it can be."""
PARTS_OF = (SHORT, 10, 9, 7, 6, 5, 4, 3, 2, 11, 13)
"""Parts of the horizon that are tried: it must be whole, so that the asked one is a multiple of it."""
ALIKE: Mapping[str, Value] = {"seed": 1, "eval_slice": "confirmation"}
"""Fields that a judgement decides itself."""
RANGE = 2 * MOST_SEEDS
"""Seeds that belong to one judgement, those that follow from its tuning seed."""


def shortened(horizon: int, asked: int | None = None) -> int:
    """The short horizon: the one that is asked for, else an eighth of the horizon, or another part of it that is whole.

    The horizon itself where it has no such part. Raises TunemaxError for one that does not divide the horizon.
    """
    if asked is None:
        return next((horizon // part for part in PARTS_OF if horizon % part == 0), horizon)
    if asked > horizon or horizon % asked:
        near = sorted((part for part in range(1, horizon + 1) if horizon % part == 0), key=lambda it: abs(it - asked))
        listed = f"{near[0]:,}" if len(near) < 2 else f"{min(near[:2]):,} or {max(near[:2]):,}"
        raise TunemaxError(f"--short = {asked:,}: expected a part of the horizon {horizon:,}, such as {listed}")
    return asked


def judged(a: tuple[str, Config], b: tuple[str, Config], fingerprint: str, short: int) -> StudyDefinition:
    """Two named configurations as a question at the short horizon, whose confirmation at the asked one is the
    judgement.

    Its name follows from what is judged, so that the same command goes on with it; and so do its seeds: they are the
    judgement's own, so that a run of judgements, each of which keeps the winner of the last, never meets one twice.
    """
    (own, first), (other, second) = a, b
    fields = [_fields(config) for config in (first, second)]
    base = {name: value for name, value in fields[0].items() if fields[1].get(name) == value and name in fields[1]}
    bundles = [{name: value for name, value in each.items() if name not in base} for each in fields]
    for name in [name for name in bundles[0] if not all_specs()[name].declared.identity]:
        base[name] = bundles[0][name]  # what does not change what is trained is the first one's
    compared: dict[str, dict[str, Value]] = {
        name: {key: value for key, value in each.items() if all_specs()[key].declared.identity}
        for name, each in zip((own, other), bundles, strict=True)
    }
    digest = hashlib.sha256(json.dumps(_what(a, b, fingerprint, short), sort_keys=True).encode()).hexdigest()
    return StudyDefinition(
        schema_version=SCHEMA,
        question=f"Is {other} better than {own}?",
        name=f"{NAME}{digest[:8]}",
        data=first.train.dataset,
        fingerprint=fingerprint,
        base=base,
        candidates=compared,
        space={},
        sampler=Grid(),
        pruner=NoPruner(),
        budget=Budget(trials=1, horizon=short, equal="iterations"),
        seed=1 + int(digest[:8], 16) % 10**5 * RANGE,
    )


def granted_runs(horizon: int, seeds: int | None, runs: int | None, member_steps: int | None) -> int:
    """Runs of both sides together that are within all budgets given. Raises TunemaxError where they are too few for any
    verdict, or more than there may be."""
    least = looks(FIRST)[0]
    enough = f"no verdict comes of less than {least} seeds of each side"
    for name, given, needed in (
        ("seeds", seeds, least),
        ("runs", runs, 2 * least),
        ("member-steps", member_steps, 2 * least * horizon),
    ):
        if given is not None and given < needed:
            each = f", {2 * least} runs of {horizon:,} iterations" if name == "member-steps" else ""
            raise TunemaxError(f"--{name} = {given:,}: {enough}{each}; expected at least {needed:,}")
    within = [
        2 * seeds if seeds else None,
        runs,
        member_steps // horizon if member_steps else None,
    ]
    given_runs = [each for each in within if each is not None] or [2 * SEEDS]
    return min(*given_runs, 2 * MOST_SEEDS)


def _fields(config: Config) -> dict[str, Value]:
    """What a study file would say of a configuration."""
    left_out = {*OWNED, *PLACES}
    return {name: value for name, value in config.active().items() if name not in left_out}


def _what(a: tuple[str, Config], b: tuple[str, Config], fingerprint: str, short: int) -> Mapping[str, object]:
    """What tells judgements apart: names, trainings, the code of plug-ins, the text, and the short horizon."""
    return {
        "sides": [[name, config.replace(ALIKE).identity] for name, config in (a, b)],
        "code": sorted({record.digest for _, config in (a, b) for record in config.plugins}),
        "text": fingerprint,
        "short": short,
    }
