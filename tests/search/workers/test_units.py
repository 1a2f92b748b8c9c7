"""Budgets of tokens, operations and seconds: how long each trial trains, where it reports, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna_dashboard import get_note

from tunemax.gpt.config import Config
from tunemax.gpt.cost import Cost
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.search.api import objective, open_study
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.pruners import Asha
from tunemax.search.question.stages import Confirm
from tunemax.search.results.confirmation import confirmation
from tunemax.search.results.leaderboard import candidates, leaderboard
from tunemax.search.results.pruning import fidelity
from tunemax.search.results.replay import replay
from tunemax.search.results.winners import confirm
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question
from tunemax.search.views.dashboard.publish import publish
from tunemax.search.views.live.progress import Progress
from tunemax.search.views.report import write
from tunemax.search.workers import solo
from tunemax.search.workers.events import Event, Finished, Reported, Started

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]

SPACE = {"batch_size": [2, 8], "n_embd": [8, 16]}
BASE = {"batch_size": None, "n_embd": None, "eval_interval": None}
NONE = {"horizon": None, "trials": None}


@pytest.fixture
def asked(ask: Ask) -> Ask:
    """A grid of four shapes, in one study."""

    def make(**changes: Any) -> Question:
        given = {"per": None, "compare": None, "base": BASE, "space": SPACE, "sampler": "grid"}
        budget = {**NONE, **changes.pop("budget")}
        return ask(**{**given, **changes, "budget": budget})

    return make


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """A machine on which an iteration takes a second for each thousand tokens; what it was asked to measure."""
    seen: list[Config] = []

    def measured(config: Config, corpus: Corpus) -> float:
        seen.append(config)
        return Cost.of(config, 256).tokens / 1000

    monkeypatch.setattr(solo, "measured", measured)
    return seen


def config_of(trial: Any) -> Config:
    return Config.of(json.loads(trial.system_attrs[attributes.CONFIG]))


@pytest.mark.parametrize(
    ("budget", "within"),
    [
        ({"tokens": 1280, "looks": 4}, lambda cost, n: abs(n * cost.tokens - 1280) <= cost.tokens / 2),
        ({"flops": 6e7, "looks": 4}, lambda cost, n: abs(n * cost.flops - 6e7) <= cost.flops / 2),
        ({"seconds": 1.28, "looks": 4}, lambda cost, n: abs(n * cost.tokens - 1280) <= cost.tokens / 2),
    ],
    ids=["tokens", "flops", "seconds"],
)
def test_trials_of_all_shapes_do_equal_work_and_report_at_equal_shares(
    asked: Ask, work: Work, corpus: Corpus, pace: list[Config], budget: Any, within: Callable[[Cost, int], bool]
) -> None:
    question = asked(budget=budget)
    work(question)
    trials = question.trials()["q"]
    assert [attributes.state(trial) for trial in trials] == ["complete"] * 4
    for trial in trials:
        config, attrs = config_of(trial), trial.user_attrs
        cost = Cost.of(config, corpus.manifest.vocab_size)
        iterations = attrs[attributes.ITERATIONS]
        assert iterations == config.train.max_iters
        assert within(cost, iterations)
        assert attrs[attributes.PARAMETERS] == cost.parameters
        assert attrs[attributes.TOKENS] == iterations * cost.tokens
        assert attrs[attributes.FLOPS] == pytest.approx(iterations * cost.flops)
        end = question.definition.budget.steps
        assert list(trial.intermediate_values) == [round(end * share / 4) for share in (1, 2, 3, 4)]
        assert trial.value == trial.intermediate_values[end]
    assert len({trial.user_attrs[attributes.ITERATIONS] for trial in trials}) > 1


@pytest.mark.parametrize("pruner", ["median", "asha"])
def test_pruners_compare_at_equal_tokens(asked: Ask, work: Work, pruner: str) -> None:
    space = {**SPACE, "learning_rate": [1e-5, 1e-4, 1e-3, 1e-2]}
    options = {"startup": 2} if pruner == "median" else {}
    question = asked(
        budget={"tokens": 3840, "looks": 6}, space=space, pruner={"name": pruner, "spared": 0.0, **options}
    )
    work(question, slots=2)
    trials = question.trials()["q"]
    pruned = [trial for trial in trials if attributes.state(trial) == "pruned"]
    assert pruned
    assert {step for trial in trials for step in trial.intermediate_values} == {640, 1280, 1920, 2560, 3200, 3840}
    assert {trial.last_step for trial in pruned} <= {1280, 1920, 2560, 3200}, "not before a third of the tokens"
    for trial in pruned:
        assert trial.user_attrs[attributes.TOKENS] == pytest.approx(trial.last_step, abs=8 * 16)
    rungs = fidelity(question.definition, candidates(question)).rungs
    assert {rung.step for rung in rungs} <= {1280, 1920, 2560, 3200}


def test_cooled_rungs_are_branches_at_equal_tokens(asked: Ask, work: Work) -> None:
    question = asked(
        budget={"tokens": 3840, "looks": 4}, base={**BASE, "schedule": "wsd"}, pruner={"name": "asha", "cooled": True}
    )
    work(question)
    for trial in question.trials()["q"]:
        assert {1280} <= trial.intermediate_values.keys() <= {960, 1280, 1920, 2560, 2880, 3840}
        if attributes.state(trial) == "complete":
            assert trial.user_attrs[attributes.ITERATIONS] > config_of(trial).train.max_iters, "branches are counted"


@pytest.mark.parametrize("unit", [{"tokens": 1280}, {"seconds": 1.28}])
def test_an_interrupted_trial_goes_on_to_the_same_curve(asked: Ask, work: Work, pace: list[Config], unit: Any) -> None:
    question = asked(budget={**unit, "looks": 4})
    reports = 0

    def count(event: Event) -> None:
        nonlocal reports
        reports += isinstance(event, Reported)

    work(question, on=count, stopping=lambda: reports >= 3)
    waiting = [trial for trial in question.trials()["q"] if attributes.state(trial) == "waiting"]
    begun = {trial.number: config_of(trial).train.max_iters for trial in waiting if trial.params}
    assert begun
    again = work(question)
    assert any(isinstance(event, Started) and event.iteration for event in again)
    trials = question.trials()["q"]
    assert [attributes.state(trial) for trial in trials] == ["complete"] * 4
    for trial in trials:
        assert len(trial.intermediate_values) == 4
        assert config_of(trial).train.max_iters == begun.get(trial.number, config_of(trial).train.max_iters)
    assert len(pace) == (4 if "seconds" in unit else 0), "each shape is measured once"


def test_a_shape_is_measured_once_whatever_else_differs(ask: Ask, work: Work, pace: list[Config]) -> None:
    question = ask(
        base={"eval_interval": None}, budget={**NONE, "trials": 3, "seconds": 1.28}, compare=["softmax", "polymax"]
    )
    work(question)
    assert len(pace) == 2, "one for each variant, though learning rates differ"
    for name, trials in question.trials().items():
        assert {trial.user_attrs[attributes.STEP_SECONDS] for trial in trials} == {0.064}
        assert {config_of(trial).train.max_iters for trial in trials} == {20}, name


def test_equal_settings_are_one_trial_in_seconds_too(ask: Ask, work: Work, pace: list[Config]) -> None:
    question = ask(compare=["softmax"], base={"eval_interval": None}, budget={**NONE, "trials": 1, "seconds": 1.28})
    study = question.study("q/softmax")
    for _ in range(2):
        study.enqueue_trial({"learning_rate": 0.01})
    work(question, slots=1)
    states = [attributes.state(trial) for trial in question.trials()["q/softmax"]]
    assert sorted(states) == ["complete", "complete", "duplicate"]
    (twin,) = (trial for trial in question.trials()["q/softmax"] if attributes.state(trial) == "duplicate")
    assert [twin.user_attrs[cost] for cost in (attributes.ITERATIONS, attributes.TOKENS, attributes.FLOPS)] == [0] * 3


def test_what_is_measured_here_decides_the_iterations(ask: Ask, work: Work) -> None:
    question = ask(base={"eval_interval": None}, budget={**NONE, "trials": 2, "seconds": 0.05, "looks": 2})
    work(question)
    for trials in question.trials().values():
        (seconds,) = {trial.user_attrs[attributes.STEP_SECONDS] for trial in trials}
        assert {config_of(trial).train.max_iters for trial in trials} == {round(0.05 / seconds)}


def test_a_trial_below_one_iteration_fails_with_the_reason(asked: Ask, work: Work, pace: list[Config]) -> None:
    question = asked(budget={"seconds": 0.1})
    ended = [event for event in work(question) if isinstance(event, Finished)]
    assert {event.state for event in ended} == {"complete", "failed"}
    reasons = {event.reason for event in ended if event.state == "failed"}
    assert reasons == {"budget.seconds = 0.1 is below one iteration, which takes 0.128 seconds of training; take more"}


def test_operations_below_one_iteration_are_refused_before_anything_is_made(asked: Ask) -> None:
    with pytest.raises(TunemaxError, match=r"budget\.flops = 100000 is below one iteration, which takes .* FLOPs"):
        asked(budget={"flops": 1e5})


@pytest.mark.parametrize(("unit", "words"), [({"tokens": 640}, "1,280 tokens"), ({"seconds": 0.64}, "1.28 seconds")])
def test_a_confirmation_multiplies_the_work(asked: Ask, work: Work, pace: list[Config], unit: Any, words: str) -> None:
    space = {"batch_size": [2, 8]}
    question = asked(budget={**unit, "looks": 2}, space=space, base={**BASE, "n_embd": 8})
    work(question)
    confirmed = confirm(question, Confirm(seeds=3), 2)
    work(confirmed)
    found = confirmation(confirmed)
    assert found.work.startswith(words)
    (entry,) = found.entries
    tuned = question.trials()["q"][entry.trial]
    for trial in entry.trials:
        assert config_of(trial).train.max_iters == 2 * config_of(tuned).train.max_iters
        assert len(trial.intermediate_values) == 2
    assert len(pace) == (2 if "seconds" in unit else 0), "seconds became iterations when it was tuned"


def test_plain_optimize_spends_the_same(asked: Ask, work: Work, where: str, pace: list[Config]) -> None:
    asked(budget={"seconds": 0.64, "looks": 2})
    study = open_study("q", where)
    study.optimize(objective(study), n_trials=4)
    for trial in study.trials:
        assert trial.user_attrs[attributes.TOKENS] == pytest.approx(640, abs=64)
        assert list(trial.intermediate_values) == [5000, 10000]


def test_the_leaderboard_has_what_the_best_trial_cost(asked: Ask, work: Work, corpus: Corpus) -> None:
    question = asked(budget={"tokens": 640})
    work(question)
    (entry,) = leaderboard(question).entries
    assert entry.best is not None
    assert entry.best.parameters == Cost.of(Config.of(entry.best.config), corpus.manifest.vocab_size).parameters
    told = leaderboard(question).to_json()["entries"][0]
    assert told["best"]["tokens"] == entry.best.tokens
    assert told["flops"] == pytest.approx(sum(t.user_attrs[attributes.FLOPS] for t in question.trials()["q"]))


def test_recorded_curves_are_replayed_in_iterations(asked: Ask, work: Work) -> None:
    question = asked(budget={"tokens": 1280, "looks": 4})
    work(question)
    (found,) = replay(question, Asha(spared=0.0))
    trials = question.trials()["q"]
    assert found.spent == sum(trial.user_attrs[attributes.ITERATIONS] for trial in trials)
    assert 0 < found.stopped < 4
    assert found.spent / 4 < found.needed < found.spent


def test_a_run_that_goes_on_shows_what_was_reported_by_iteration(asked: Ask, work: Work) -> None:
    question = asked(budget={"tokens": 1280, "looks": 4})
    seen: list[Event] = []
    work(question, on=seen.append, stopping=lambda: sum(isinstance(event, Reported) for event in seen) >= 2, slots=1)
    progress = Progress.of(question)
    (trial,) = (trial for trial in question.trials()["q"] if trial.intermediate_values)
    length = config_of(trial).train.max_iters
    progress.take(Started(0, "q", trial.number, length, length))
    assert list(progress.slots[0].losses) == [round(step * length / 1280) for step in trial.intermediate_values]


def test_a_report_and_a_note_count_in_the_unit(asked: Ask, work: Work, tmp_path: Path) -> None:
    question = asked(budget={"tokens": 1280, "looks": 4}, pruner={"name": "asha", "spared": 1.0})
    work(question)
    publish(question)
    note = str(get_note(question.study("q")))
    assert "1,280 tokens, 4 trials" in note
    assert "parameters" in note
    (entry,) = leaderboard(question).entries
    assert entry.best is not None
    assert entry.best.config is not None
    assert f"--max_iters {4 * entry.best.config['max_iters']}" in note
    page, _, figures = (path.read_text() for path in write(question, tmp_path))
    assert "1,280 tokens" in page
    assert ">tokens<" in page, "the title of the axis of learning curves"
    assert figures.splitlines()[0].split(",")[5:8] == ["parameters", "best_tokens", "best_flops"]


def test_a_stored_definition_without_units_goes_on(defined: Callable[..., StudyDefinition]) -> None:
    old = json.loads(defined().to_json())
    old["budget"] = {"trials": 3, "horizon": 20, "seconds": 60.0}
    old["space"] = {"batch_size": {"values": [4, 8]}}
    again = StudyDefinition.from_json(json.dumps(old))
    assert (again.budget.horizon, again.budget.run_seconds, again.budget.seconds) == (20, 60.0, None)


def test_what_a_member_writes_takes_its_share_of_the_seconds(monkeypatch: pytest.MonkeyPatch, corpus: Corpus) -> None:
    seconds = {"step": 0.01, "write": 0.3}
    monkeypatch.setattr(solo, "_seconds", lambda trainer, work: (work(), seconds[work.func.__name__])[1])
    monkeypatch.setattr(solo, "BURST", 0.01)
    plain = {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8, "batch_size": 2, "device": "cpu"}
    own = {**plain, "feedback_share": 0.5, "feedback_every": 10, "feedback_pool": 2}
    assert solo.measured(Config.of(plain), corpus) == pytest.approx(0.01)
    assert solo.measured(Config.of(own), corpus) == pytest.approx(0.01 + 0.3 / 10)
    shapes = {solo._shape(Config.of({**own, "feedback_every": every})) for every in (10, 20)}
    assert len({solo._shape(Config.of({**plain, "feedback_every": 20})), *shapes}) == 3
