"""Winners, frozen for a confirmation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError, did_you_mean
from tunemax.gpt.fields import Range, Value
from tunemax.search.question.counting import counted, one_or
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.pruners import NoPruner
from tunemax.search.question.samplers import Grid
from tunemax.search.question.stages import MARGIN, Confirm, Confirms, Frozen, confirmation_name
from tunemax.search.results.confirmation import confirmation
from tunemax.search.results.leaderboard import Leaderboard, candidates, leaderboard
from tunemax.search.results.rounds import allotted
from tunemax.search.storage.attributes import CONFIG, WORKER, configuration
from tunemax.search.storage.commands import fail, typed
from tunemax.search.storage.fresh_seeds import first_seed, mark_used, seeds_of
from tunemax.search.storage.questions import Question, alone, lay_out, load, questions

SHIFT = 10**12
"""Between the seeds of two candidates that are one configuration; more than any other seeds are apart."""


def confirm(question: Question, stage: Confirm, factor: int = 1, *, as_given: bool = False) -> Question:
    """Create the confirmation of a tuned question at a multiple of its horizon, or give it the seeds and candidates
    that it lacks.

    Winners that were frozen before stay as they are, and fewer seeds or runs than there are change nothing. One that
    was deleted and is made again has seeds that none before it has used. as_given: candidates have nothing that is
    tuned, and are trained as they are, whatever became of their one trial, and in their own precision. Raises
    TunemaxError if trials are still to come, no candidate has a winner, the reference has none, or the margin is
    another one than before.
    """
    if question.definition.confirms:
        tuned = question.definition.confirms.question
        amount = question.definition.confirms.amount
        more = typed(question.storage.url, "study", "confirm", tuned, f"--{amount}", "N")
        raise TunemaxError(f"{question.name}: a confirmation itself; give it more {amount} with {more}")
    with alone(question.storage):
        question = load(question.storage, question.name)  # a candidate may have joined
        board = leaderboard(question)
        if board.left:
            still = f"{counted(board.left, 'trial')} {one_or(board.left, 'is', 'are')} still to come"
            raise TunemaxError(f"{question.name}: {still}, and the winners may change; {_ending(question, board)}")
        name = confirmation_name(question.name, factor)
        before = load(question.storage, name) if name in questions(question.storage) else None
        winners = _given(question) if as_given else _winners(board)
        definition = _definition(question, board, stage, factor, before, winners, as_given=as_given)
        opened = lay_out(question.storage, definition)
        mark_used(question.storage, definition)
        return opened


def _ending(question: Question, board: Leaderboard) -> str:
    """How to come to an end with trials that wait, or that are trained here or elsewhere."""
    url, name = question.storage.url, question.name
    if any(entry.waiting for entry in board.entries):
        run, cancel = (typed(url, "study", action, name) for action in ("run", "cancel"))
        return f"finish them with {run}, or withdraw them with {cancel}"
    for study, trials in question.trials().items():
        for trial in trials:
            if not trial.state.is_finished() and WORKER not in trial.user_attrs:
                end = fail(url, study, trial.number)
                return f"trial {trial.number} of {study} was asked with the stock tools; tell it, or end it with {end}"
    cancel = typed(url, "study", "cancel", name, "--now")
    return f"other workers train them; wait for them, or withdraw them with {cancel}"


@dataclass(frozen=True)
class _Winner:
    """What is frozen of a candidate."""

    study: str
    number: int
    config: Mapping[str, Value]


def _winners(board: Leaderboard) -> dict[str, _Winner]:
    """The best trial of each candidate that has one."""
    best = {entry.name: (entry.study, entry.best) for entry in board.entries}
    return {name: _Winner(study, own.number, own.config) for name, (study, own) in best.items() if own}


def _given(question: Question) -> dict[str, _Winner]:
    """The one trial of each candidate that has nothing to tune, also one that diverged."""
    configured = {
        study: next((trial for trial in trials if CONFIG in trial.system_attrs), None)
        for study, trials in question.trials().items()
    }
    return {
        study.rpartition("/")[2]: _Winner(study, trial.number, configuration(trial))
        for study, trial in configured.items()
        if trial
    }


def _frozen(
    config: Mapping[str, Value], fixed: Mapping[str, Value], *, compiled: bool, as_given: bool
) -> dict[str, Value]:
    """The fields of a winner that its seeds share.

    fixed: what its study says. compiled: whether all winners are, if it says nothing. bf16 is for screening: near the
    edge of stability it differs. That trials were not compiled tells of their machine and horizon only, so whoever
    confirms decides anew then.
    """
    fields = {**config} if as_given else {**config, "precision": "fp32"}
    del fields["compile"]
    return fields | ({"compile": fixed["compile"]} if "compile" in fixed else {"compile": True} if compiled else {})


def _definition(
    question: Question,
    board: Leaderboard,
    stage: Confirm,
    factor: int,
    before: Question | None,
    winners: Mapping[str, _Winner],
    *,
    as_given: bool,
) -> StudyDefinition:
    """A grid over the seeds, with a sibling for each winner."""
    tuned, known = question.definition, before.definition if before else None
    confirms = known.confirms if known else None
    frozen = dict(confirms.winners) if confirms else {}
    reference = _reference(question, board, stage, confirms.reference if confirms else None, winners)
    chosen = _chosen(board, stage, reference, winners) - frozen.keys()
    joining = {entry.name: winners[entry.name] for entry in board.entries if entry.name in chosen & winners.keys()}
    # Candidates are compared on one path: that of those who were frozen before, else compiled if any was tuned so.
    earlier: list[Mapping[str, Value]] = [each.fields for each in frozen.values()]
    compiled = any(fields.get("compile") for fields in earlier or [winner.config for winner in joining.values()])
    for name, winner in joining.items():
        fixed = question.siblings[winner.study]
        fields = _frozen(winner.config, fixed, compiled=compiled, as_given=as_given)
        frozen[name] = Frozen(study=winner.study, trial=winner.number, fields=fields)
    if as_given:
        frozen = _apart(frozen)
    if reference not in frozen:
        raise TunemaxError(
            f"{question.name}: {reference}, the reference, has no complete trial of ours; name another with --reference"
        )
    ranked = [entry.name for entry in board.entries if entry.name in frozen]
    order = [*ranked, *(name for name in frozen if name not in ranked)]  # whose tuning other tools have deleted
    planned = confirms.first_planned(known.budget.trials) if known and confirms else stage.seeds
    rechosen = confirms is not None and (confirms.rechosen or reference != confirms.reference)
    each, runs = allotted(stage, confirmation(before) if before else None, order, planned, rechosen)
    seeds = max(each.values())
    first = seeds_of(known)[0] if known else first_seed(question.storage, tuned, factor)
    return StudyDefinition(
        schema_version=tuned.schema_version,
        question=tuned.question,
        name=confirmation_name(question.name, factor),
        data=tuned.data,
        fingerprint=tuned.fingerprint,
        space={"seed": Range(first, first + seeds - 1, step=1)},
        sampler=Grid(),
        pruner=NoPruner(),
        budget=tuned.budget.times(factor, seeds),
        confirms=Confirms(
            question=question.name,
            factor=factor,
            reference=reference,
            margin=_margin(stage, before),
            planned=planned,
            looks=confirms.looks if confirms else (),
            rechosen=rechosen,
            runs=runs,
            winners={name: _limited(frozen[name], each[name], seeds) for name in order},
        ),
        seed=tuned.seed,
        workers=tuned.workers,
        slots=tuned.slots,
    )


def _apart(frozen: Mapping[str, Frozen]) -> dict[str, Frozen]:
    """Candidates that train the same thing get seeds that are far apart: each pair is then two runs, not one twice."""
    seen: list[str] = []
    found = {}
    for name, winner in frozen.items():
        identity = Config.stored({**winner.fields, "seed": 1}).identity
        found[name] = winner.model_copy(update={"apart": SHIFT * seen.count(identity)})
        seen.append(identity)
    return found


def _limited(winner: Frozen, seeds: int, most: int) -> Frozen:
    """A winner with so many seeds. most: those that the confirmation has."""
    return winner.model_copy(update={"seeds": seeds if seeds < most else None})


def _margin(stage: Confirm, before: Question | None) -> float:
    """Below which a difference counts as none. It stays as it was chosen: one that is chosen after a look proves
    nothing."""
    confirms = before.definition.confirms if before else None
    if before is None or confirms is None:
        return stage.margin or MARGIN
    if stage.margin not in (None, confirms.margin):
        renew = typed(before.storage.url, "study", "delete", before.name, "--yes")
        stays = f"{before.name} was begun with {confirms.margin:g}, which stays"
        raise TunemaxError(
            f"margin = {stage.margin:g}: {stays}; leave it out, or begin anew on fresh seeds after {renew}"
        )
    return confirms.margin


def _reference(
    question: Question, board: Leaderboard, stage: Confirm, before: str | None, winners: Mapping[str, _Winner]
) -> str:
    """The candidate to compare with: the one that was asked for, else the one before, else softmax or the first.

    The first of the question, not of the leaderboard: what is compared with must not follow from results.
    """
    names = [candidate.name for candidate in candidates(question)]
    siblings = question.definition.siblings()
    every = names if question.variant_is_dimension else [study.rpartition("/")[2] for study in siblings]
    if stage.reference is not None and stage.reference not in every:
        raise TunemaxError(
            f"reference = {stage.reference}: no such candidate of {board.name}{did_you_mean(stage.reference, every)}"
        )
    if not winners:
        raise TunemaxError(f"{board.name}: no trial is complete, so there is no winner to confirm")
    reference = stage.reference or before or ("softmax" if "softmax" in every else every[0])
    if reference != before and reference not in names:
        other = "or name another reference with --reference"
        raise TunemaxError(f"{board.name}: the reference, {reference}, is missing; {'; '.join((*board.astray, other))}")
    return reference


def _chosen(board: Leaderboard, stage: Confirm, reference: str, winners: Mapping[str, _Winner]) -> set[str]:
    """The reference and the best others."""
    others = [entry for entry in board.entries if entry.name != reference and entry.name in winners]
    return {reference, *(entry.name for entry in others[: stage.top])}
