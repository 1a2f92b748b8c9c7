"""The leaderboard: exact counts, the stock tools' best, and how far its order can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tunemax.gpt.config import Config
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question

Ask = Callable[..., Question]

# ---- counts and ranks ------------------------------------------------------------------------------------------------


def add(study: optuna.Study, value: float | None, state: TrialState = TrialState.COMPLETE, **more: Any) -> None:
    ours = {attributes.ITERATIONS: 20, attributes.TOKENS: 1280}
    trial = create_trial(state=state, value=value, user_attrs={**ours, **more}, system_attrs={attributes.CONFIG: "{}"})
    study.add_trial(trial)


def test_every_trial_is_counted_once(ask: Ask) -> None:
    question = ask(budget={"trials": 2})
    study = question.study("q/softmax")
    for value in (3.0, 1.0, 2.0, 4.0, 5.0, 6.0):
        add(study, value)
    add(study, 6.5, diverged="diverged: loss is nan", iterations=10)
    add(study, 1.0, duplicate_of=3, iterations=0, tokens=0)
    add(study, 4.5, TrialState.PRUNED, iterations=10, tokens=640)
    add(study, 4.5, TrialState.PRUNED, duplicate_of=10, iterations=0, tokens=0)
    add(study, None, TrialState.FAIL, iterations=0, tokens=0)
    add(study, None, TrialState.FAIL, iterations=0, tokens=0, reason="cancelled")
    add(study, None, TrialState.WAITING, duplicate_of=3, iterations=0, tokens=0)  # cut short before it was told
    study.ask()
    entry, other = leaderboard(question).entries
    counts = {state: getattr(entry, state) for state in attributes.STATES}
    assert counts == {
        "complete": 6,
        "pruned": 1,
        "diverged": 1,
        "duplicate": 2,
        "failed": 1,
        "cancelled": 1,
        "running": 1,
        "waiting": 2,
    }
    assert sum(counts.values()) == len(study.get_trials())
    assert entry.best is not None
    assert (entry.best.value, entry.best.number) == (1.0, 3)
    assert entry.median_of_top == 3.0
    assert entry.member_steps == 6 * 20 + 10 + 10
    assert entry.tokens == 7 * 1280 + 640
    assert entry.values == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.5)
    assert (other.name, other.best, other.median_of_top, other.waiting) == ("polymax", None, None, 2)


def test_a_duplicate_that_comes_first_has_the_cost_of_its_original(ask: Ask) -> None:
    """Trials that wait in front of their equal: it is trained, and they are told its loss under lower numbers."""
    question = ask(compare=["softmax"], budget={"trials": 1})
    study = question.study("q/softmax")
    add(study, 2.0, duplicate_of=2, iterations=0, tokens=0, flops=0)
    add(study, 2.0, flops=7)
    (entry,) = leaderboard(question).entries
    assert entry.best is not None
    assert entry.best.number == study.best_trial.number == 1
    assert (entry.best.iterations, entry.best.tokens, entry.best.flops) == (20, 1280, 7)
    assert (entry.member_steps, entry.tokens) == (20, 1280)


def test_candidates_stand_by_their_best_and_those_without_one_last(ask: Ask) -> None:
    question = ask(compare=["softmax", "polymax", "constantmax"])
    add(question.study("q/polymax"), 1.0)
    add(question.study("q/constantmax"), 2.0)
    assert [entry.name for entry in leaderboard(question).entries] == ["polymax", "constantmax", "softmax"]


@pytest.mark.parametrize(
    "values", [[2.0, 1.0, 3.0], [2.0, 1.0, 1.0], [math.inf, 2.0], [math.inf, math.inf], [-math.inf, 1.0]]
)
def test_the_best_is_the_one_that_optuna_names(ask: Ask, values: list[float]) -> None:
    question = ask(compare=["softmax"])
    study = question.study("q/softmax")
    for value in values:
        add(study, value)
    board = leaderboard(question)
    (entry,) = board.entries
    assert entry.best is not None
    assert entry.best.value == study.best_value
    assert study.best_trial.number == entry.best.number
    assert board.against == ()


@pytest.mark.parametrize("told", [0.5, 1.0, 2.5, -math.inf])
def test_what_others_have_told_ranks_nowhere_and_that_is_said(ask: Ask, told: float) -> None:
    """They may know some settings only, and nobody can train it again."""
    question = ask(budget={"trials": 1})
    for name in ("softmax", "polymax"):
        study = question.study(f"q/{name}")
        study.tell(study.ask(), told if name == "polymax" else 4.0)  # before ours, so that it has the lower number
        for value in (1.0, 2.0) if name == "softmax" else (1.5, 2.0):
            add(study, value)
    board = leaderboard(question)
    first, second = board.entries
    assert first.best is not None
    assert second.best is not None
    assert [(it.name, it.best and it.best.value, it.median_of_top) for it in board.entries] == [
        ("softmax", 1.0, 1.5),
        ("polymax", 1.5, 1.75),
    ]
    assert (first.values, first.tried, first.told, second.tried) == ((1.0, 2.0), 2, 1, 2)
    stock = question.study("q/polymax").best_trial
    if stock.number == second.best.number:
        assert board.against == ()
    else:
        assert board.against == (
            f"optuna best-trial and the dashboard name trial {stock.number} of q/polymax ({told:.4f}): it was told "
            "with other tools, what it has trained is not recorded, and it ranks nowhere here.",
        )


def test_a_candidate_of_which_others_have_told_everything_has_no_best(ask: Ask) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1})
    study = question.study("q/softmax")
    study.tell(study.ask(), 1.0)
    board = leaderboard(question)
    (entry,) = board.entries
    assert (entry.best, entry.median_of_top, entry.complete, entry.told) == (None, None, 1, 1)
    assert len(board.against) == 1


def test_a_trial_that_was_told_nan_has_failed(ask: Ask) -> None:
    question = ask(compare=["softmax"])
    study = question.study("q/softmax")
    with pytest.warns(UserWarning, match="not acceptable"):
        study.tell(study.ask(), math.nan)
    (entry,) = leaderboard(question).entries
    assert (entry.failed, entry.complete, entry.best) == (1, 0, None)


def test_variants_as_choices_are_candidates_too(ask: Ask, work: Callable[..., Any]) -> None:
    space = {"softmax_variant": ["softmax", "polymax"], "learning_rate": [1e-3, 1e-2]}
    question = ask(per=None, compare=None, space=space, sampler="grid", budget={"trials": 4})
    work(question)
    board = leaderboard(question)
    assert {entry.name for entry in board.entries} == {"softmax", "polymax"}
    assert [entry.complete for entry in board.entries] == [2, 2]
    assert {entry.study for entry in board.entries} == {"q"}


def test_it_can_be_written_as_json(ask: Ask, work: Callable[..., Any]) -> None:
    question = ask()
    work(question)
    board = leaderboard(question)
    read = json.loads(json.dumps(board.to_json()))
    assert [entry["name"] for entry in read["entries"]] == [entry.name for entry in board.entries]
    best = board.entries[0].best
    assert best is not None
    assert read["entries"][0]["best"]["value"] == best.value
    assert read["entries"][0]["best"]["config"]["softmax_variant"] == board.entries[0].name
    assert (read["verdict"], read["left"]) == (board.sentence, 0)


# ---- what stands against its ranks -----------------------------------------------------------------------------------


def ladder(question: Question, name: str, first: float, count: int = 10, state: str = "COMPLETE") -> None:
    """So many trials of one candidate, from this loss on upwards."""
    for index in range(count):
        add(question.study(f"q/{name}"), first + 0.001 * index, TrialState[state])


def without_waiting(question: Question) -> Question:
    for name in question.siblings:
        study = question.study(name)
        for _ in study.get_trials(states=(TrialState.WAITING,)):
            study.tell(study.ask(), state=TrialState.FAIL)
    return question


def test_a_duplicate_that_is_the_best_has_cost_what_its_twin_has(ask: Ask) -> None:
    """It may have the lower number: it waited for the twin."""
    question = ask(budget={"trials": 1})
    study = question.study("q/softmax")
    add(study, 2.0, duplicate_of=2, iterations=0, tokens=0, flops=0.0)
    add(study, 2.0, flops=5e6)
    entry = next(each for each in leaderboard(question).entries if each.name == "softmax")
    assert entry.best is not None
    assert (entry.best.number, entry.best.tokens, entry.best.flops) == (1, 1280, 5e6)
    assert (entry.tokens, entry.flops) == (1280, 5e6), "what was spent is counted once"


def test_it_says_whether_a_repeat_would_give_its_order(ask: Ask) -> None:
    question = ask(compare=["softmax", "polymax", "softermax"], budget={"trials": 1})
    assert leaderboard(question).sentence == "Tuned, not confirmed; 3 trials still to come."
    without_waiting(question)
    for name, first in (("softmax", 2.0), ("polymax", 2.0005), ("softermax", 3.0)):
        ladder(question, name, first)
    close = "one search does not tell softmax and polymax apart; more trials or a longer horizon may."
    board = leaderboard(question)
    assert board.sentence == f"Tuned, not confirmed. The tuned order would probably change in a repeat: {close}"
    assert board.separable() is False
    open_ = (
        "The tuned order of softmax and polymax, which no confirmation has settled, would probably change in a repeat"
    )
    assert board.order({"softermax"}) == f"{open_}: {close}"
    assert board.order({"softermax", "polymax"}) is None
    assert str(board.order({"polymax"})).endswith("has settled, would probably be the same in a repeat.")


def test_what_a_sampler_that_learns_has_gained_may_be_luck(ask: Ask) -> None:
    """Its random beginning is part of the entry; a sampler that never learns has none."""
    for sampler, begun in (("random", None), ("tpe", 2.503)):
        question = without_waiting(ask(name=f"q-{sampler}", sampler=sampler, budget={"trials": 1}))
        for name, end in (("softmax", 2.0), ("polymax", 2.3)):
            study = question.study(f"{question.name}/{name}")
            for loss in (2.506, 2.505, 2.504, 2.503, *(end + 0.001 * index for index in range(10))):
                add(study, loss)
        entry = leaderboard(question).entries[0]
        assert entry.begun == (begun and 2.504), "the first trial has failed, so that three of four random ones count"
        assert leaderboard(question).separable() is (begun is None), "0.5 was gained, and 0.3 is the lead"


def test_unequal_budgets_are_told_when_all_trials_have_ended(ask: Ask) -> None:
    question = ask(compare=["softmax", "polymax", "softermax"], budget={"trials": 1})
    for name, count in (("softmax", 14), ("polymax", 8), ("softermax", 4)):
        ladder(question, name, 2.0, count)
    ladder(question, "softermax", 2.2, 4, "PRUNED")
    assert leaderboard(question).cautions == (), "trials are still to come"
    without_waiting(question)
    assert leaderboard(question).cautions == (
        "Unequal budgets: softmax has had 14 trials, the others 8; ranks favour it.",
    )


def test_a_winner_at_the_end_of_its_range_is_told(ask: Ask) -> None:
    question = without_waiting(ask(budget={"trials": 1}))
    for name, rate in (("softmax", 0.0999), ("polymax", 0.01)):
        fixed = question.siblings[f"q/{name}"]
        config = json.dumps(Config.of({**fixed, "learning_rate": rate}).flat())
        question.study(f"q/{name}").add_trial(create_trial(value=2.0, system_attrs={attributes.CONFIG: config}))
    assert leaderboard(question).cautions == (
        "learning_rate of the best softmax (0.0999) lies at the upper end of what was searched, {low: 0.0001, high: "
        "0.1, log: true}; try learning_rate: {low: 0.0001, high: 1, log: true} in a new study.",
    )
