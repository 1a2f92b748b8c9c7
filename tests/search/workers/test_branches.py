"""Cooled rungs: what a trial reports there is the loss of a full decay, to the bit, and nothing else about it is
different."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.schedule import lr_factor
from tunemax.gpt.trainer import Trainer
from tunemax.search import objective, open_study
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question, create
from tunemax.search.workers.events import Event, Finished, Started

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
PLAN: dict[str, Any] = {
    "compare": ["softmax"],
    "sampler": "grid",
    "space": {"learning_rate": [1e-2, 3e-3], "decay_fraction": [0.2, 0.6]},
    "budget": {"trials": 4, "horizon": 70},
    "base": {"eval_interval": 20, "schedule": "wsd", "warmup_fraction": 0.05, "dropout": 0.1},
    "pruner": {"name": "asha", "cooled": True, "warmup": 0.35, "spared": 1.0},
}
"""Rungs 25 and 50. Decays begin at 20 and 40, or at 10 and 20: then the second branch begins before the first has
ended."""


def trials(question: Question) -> list[FrozenTrial]:
    return question.trials()["q/softmax"]


def config_of(trial: FrozenTrial) -> Config:
    return Config.of(json.loads(trial.system_attrs[attributes.CONFIG]))


def found(question: Question) -> list[Any]:
    names = (attributes.ITERATIONS, attributes.TOKENS)
    return [
        (t.params, t.state, t.value, t.intermediate_values, [t.user_attrs[name] for name in names])
        for t in trials(question)
    ]


def by_hand(config: Config, corpus: Corpus) -> dict[int, float]:
    """What a trial should report, from one member that is trained, forked and evaluated step by step."""
    trainer, reports = Trainer(config, corpus), {}
    trunk = trainer.add(config)
    for at in range(1, config.train.max_iters + 1):
        trainer.step()
        for rung in (25, 50):
            if at == rung - round(config.train.decay_fraction * rung):
                cooled = config.replace({"max_iters": rung})
                other = Trainer(cooled, corpus)
                branch = other.restore(replace(trainer.snapshot(trunk), config=cooled))
                assert branch.learning_rate == trunk.learning_rate == config.train.learning_rate, (
                    "it leaves the stable rate"
                )
                other.step(rung - at - 1)
                assert lr_factor(cooled.train, branch.iteration) == pytest.approx(config.train.min_lr_ratio), (
                    "it has decayed fully"
                )
                other.step()
                reports[rung] = other.look([branch])[branch]
        if at not in (25, 50) and (at % 20 == 0 or at == config.train.max_iters):
            reports[at] = trainer.evaluate()[trunk]
    return reports


def test_a_rung_has_the_loss_of_a_branch_made_by_hand_and_the_trunk_is_not_disturbed(
    ask: Ask, work: Work, corpus: Corpus
) -> None:
    question = ask(**PLAN)
    work(question, slots=3)
    for trial in trials(question):
        config = config_of(trial)
        assert trial.state == TrialState.COMPLETE
        assert trial.intermediate_values == by_hand(config, corpus)
        assert trial.value == trial.intermediate_values[70]
        branches = round(config.train.decay_fraction * 25) + round(config.train.decay_fraction * 50)
        assert trial.user_attrs[attributes.ITERATIONS] == 70 + branches
        assert trial.user_attrs[attributes.TOKENS] == (70 + branches) * 4 * 16


def test_the_pruner_is_asked_at_rungs_only_and_sees_the_branch(ask: Ask, work: Work, corpus: Corpus) -> None:
    question = ask(
        **{**PLAN, "pruner": {**PLAN["pruner"], "spared": 0.0}, "space": {"learning_rate": [1e-2, 1e-6, 1e-5, 2e-2]}}
    )
    work(question, slots=1)
    states = [trial.state for trial in trials(question)]
    assert states.count(TrialState.PRUNED) >= 2
    for trial in trials(question):
        alone = by_hand(config_of(trial), corpus)
        assert trial.intermediate_values == {step: alone[step] for step in trial.intermediate_values}
        if trial.state == TrialState.PRUNED:
            assert trial.last_step in (25, 50)
            assert trial.value == alone[trial.last_step]
            assert trial.user_attrs[attributes.ITERATIONS] == {25: 25 + 5, 50: 50 + 5 + 10}[trial.last_step]


@pytest.fixture
def expected(tmp_path: Path, defined: Callable[..., StudyDefinition], corpus: Corpus, work: Work) -> list[Any]:
    """What the trials of PLAN find undisturbed."""
    (tmp_path / "undisturbed").mkdir()
    question = create(str(tmp_path / "undisturbed" / "studies.db"), defined(**PLAN), corpus)
    work(question)
    return found(question)


def test_interrupted_within_a_branch_a_trial_goes_on_from_its_beginning_to_the_same_curve(
    ask: Ask, work: Work, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every four strides of at most ten iterations all members are thrown away."""
    question, step, done = ask(**PLAN), Trainer.step, 0
    at: dict[int, int] = {}
    back = 0

    def counted(trainer: Trainer, n: int = 1) -> None:
        nonlocal done
        step(trainer, n)
        done += 1

    monkeypatch.setattr(Trainer, "step", counted)
    while any(trial.state == TrialState.WAITING for trial in trials(question)):
        limit = done + 4
        events = work(question, slots=2, stopping=lambda limit=limit: done >= limit)
        back += sum(event.iteration < at.get(event.trial, 0) for event in events if isinstance(event, Started))
        at |= {event.trial: event.iteration for event in events if isinstance(event, Finished)}
    assert back >= 2, "some were within a branch"
    assert found(question) == expected


def test_killed_within_a_branch_a_trial_reports_what_it_had_reported(
    ask: Ask, work: Work, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 0.0)
    question = ask(**PLAN)
    step, left = Trainer.step, 6

    def dies(trainer: Trainer, n: int = 1) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise MemoryError
        step(trainer, n)

    monkeypatch.setattr(Trainer, "step", dies)
    with pytest.raises(MemoryError):
        work(question)
    assert {trial.last_step for trial in trials(question)} == {40}, "within branches to 50"
    events = work(question)
    assert {event.iteration for event in events if isinstance(event, Started)} == {20, 40}, "where the branches began"
    assert found(question) == expected


def test_plain_optimize_finds_what_a_worker_finds(ask: Ask, expected: list[Any], where: str) -> None:
    question = ask(**PLAN)
    study = open_study("q/softmax", where)
    study.optimize(objective(study), n_trials=4)
    assert [each[:4] for each in found(question)] == [each[:4] for each in expected]


def test_a_trial_that_diverges_within_a_branch_has_diverged(ask: Ask, work: Work) -> None:
    question = ask(**{**PLAN, "space": {"learning_rate": [1e-2, 5.0]}, "budget": {"trials": 2, "horizon": 70}})
    events = work(question)
    fine, diverged = trials(question)
    assert (attributes.state(fine), attributes.state(diverged)) == ("complete", "diverged")
    (told,) = [event for event in events if isinstance(event, Finished) and event.state == "diverged"]
    assert told.reason == diverged.user_attrs[attributes.DIVERGED]


def test_a_trial_that_has_passed_a_branch_when_rungs_become_cooled_is_judged_at_the_next(
    ask: Ask, work: Work, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {**PLAN, "space": {"learning_rate": [1e-2, 3e-3]}, "budget": {"trials": 2, "horizon": 70}}
    step, done = Trainer.step, 0

    def counted(trainer: Trainer, n: int = 1) -> None:
        nonlocal done
        step(trainer, n)
        done += 1

    monkeypatch.setattr(Trainer, "step", counted)
    work(ask(**{**plan, "pruner": "none"}), stopping=lambda: done >= 3)  # at 30: the branch to 25 would have left at 20
    question = ask(**plan)
    work(question)
    for trial in trials(question):
        reports = by_hand(config_of(trial), corpus)
        del reports[25]
        assert trial.intermediate_values == reports
