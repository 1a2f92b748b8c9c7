"""What the trials that were spared say of a pruner: correlations, and a warning when it was not right."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tunemax.search.cli import main
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.results.leaderboard import Candidate, candidates
from tunemax.search.results.pruning import POOLED, Fidelity, Rung, fidelity
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question
from tunemax.search.views.dashboard.publish import publish
from tunemax.search.views.report import write
from tunemax.search.workers.events import Event

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
HORIZON = 300


def ended(
    number: int, at: float, value: float, *, spared: int | None = None, share: float = 0.1, **more: Any
) -> FrozenTrial:
    """A complete trial with its losses at the rung of 100 iterations and at the horizon."""
    system = {} if spared is None else {attributes.SPARED_SHARE: share}
    more |= {} if spared is None else {attributes.SPARED: spared}
    trial = create_trial(
        value=value, intermediate_values={50: 9.0, 100: at, 300: value}, user_attrs=more, system_attrs=system
    )
    trial.number = number
    return trial


def stopped(number: int, at: float, iteration: int = 100) -> FrozenTrial:
    trial = create_trial(state=TrialState.PRUNED, value=at, intermediate_values={50: 9.0, iteration: at})
    trial.number = number
    return trial


def judged(defined: Callable[..., StudyDefinition], pruner: Any = "asha", **groups: Sequence[FrozenTrial]) -> Fidelity:
    study = defined(pruner=pruner, budget={"horizon": HORIZON})
    return fidelity(study, [Candidate(name, f"q/{name}", trials) for name, trials in groups.items()])


def only(found: Fidelity) -> Rung:
    (rung,) = found.rungs
    return rung


def test_a_spared_trial_stands_for_those_that_were_stopped(defined: Callable[..., StudyDefinition]) -> None:
    went_on = [ended(0, 1.0, 3.0), ended(1, 2.0, 2.0), ended(2, 3.0, 1.0)]
    assert only(judged(defined, a=went_on)).correlation.value == pytest.approx(-1)
    half = judged(defined, a=[*went_on, stopped(3, 7.0), ended(4, 9.0, 9.0, spared=100, share=0.5)])
    tenth = judged(defined, a=[*went_on, stopped(3, 7.0), ended(4, 9.0, 9.0, spared=100, share=0.1)])
    # ranks of the half's: 1, 2, 3, 4.5, 4.5 against 3, 2, 1, 4.5, 4.5
    assert only(half).correlation.value == pytest.approx(5.5 / 9.5)
    assert only(tenth).correlation.value > only(half).correlation.value
    assert (only(tenth).step, only(tenth).correlation.n, only(tenth).spared, only(tenth).stopped) == (100, 4, 1, 2)


def test_duplicates_are_left_out_and_divergence_counts_at_the_cap(defined: Callable[..., StudyDefinition]) -> None:
    trials = [ended(0, 1.0, 1.0), ended(1, 2.0, 2.0), ended(2, 1.0, 1.0, duplicate_of=0)]
    assert only(judged(defined, a=trials)).correlation.n == 2
    late = create_trial(
        value=6.0, intermediate_values={50: 9.0, 100: 0.5, 150: 6.0}, user_attrs={attributes.DIVERGED: "diverged"}
    )
    early = create_trial(value=6.0, intermediate_values={50: 6.0}, user_attrs={attributes.DIVERGED: "diverged"})
    found = only(judged(defined, a=[*trials, late, early]))
    assert found.correlation.n == 3
    assert found.correlation.value == pytest.approx(-0.5), "it was first at the rung and is last"


def test_rungs_are_where_trials_are_judged(defined: Callable[..., StudyDefinition]) -> None:
    def curve(steps: Sequence[int]) -> list[FrozenTrial]:
        return [
            create_trial(value=1.0 + i, intermediate_values=dict.fromkeys([*steps, HORIZON], 1.0 + i)) for i in range(3)
        ]

    every = [60, 120, 180, 240]
    rungs = {str(pruner): judged(defined, pruner, a=curve(every)).rungs for pruner in ("asha", "median", "none")}
    assert [rung.step for rung in rungs["asha"]] == [120, 240], "the first evaluation at or behind 100 and 200"
    assert [rung.step for rung in rungs["median"]] == [120, 180, 240]
    assert rungs["none"] == ()
    many = judged(defined, "median", a=curve(range(10, HORIZON, 10))).rungs
    assert (len(many), many[0].step, many[-1].step) == (8, 100, 290)


def test_candidates_are_pooled_by_their_ranks(defined: Callable[..., StudyDefinition]) -> None:
    a, b = [ended(0, 1.0, 1.0), ended(1, 2.0, 2.0)], [ended(0, 11.0, 12.0), ended(1, 12.0, 11.0)]
    found = {rung.candidate: rung.correlation for rung in judged(defined, a=a, b=b).rungs}
    assert {name: (each.n, each.value) for name, each in found.items()} == {
        "a": (2, 1.0),
        "b": (2, -1.0),
        POOLED: (4, 0.0),
    }


def mixed(rising: bool, spared: int = 2) -> list[FrozenTrial]:
    """Twelve trials that go on, whose order at the rung is that at the horizon, or its opposite; six are stopped, some
    spared."""
    went_on = [ended(i, 1 + i / 100, 1 + i / 100 if rising else 2 - i / 100) for i in range(12)]
    let = [ended(20 + i, 1.5 + i / 100, 2.5 + i / 100 if rising else 1.0 - i / 100, spared=100) for i in range(spared)]
    return [*went_on, *let, *(stopped(30 + i, 1.6) for i in range(6))]


def test_a_pruner_that_is_right_is_not_warned_of(defined: Callable[..., StudyDefinition]) -> None:
    assert judged(defined, a=mixed(True), b=mixed(True)).warnings == ()


def test_a_low_correlation_and_good_spared_trials_are_told_with_numbers_and_a_remedy(
    defined: Callable[..., StudyDefinition],
) -> None:
    low, good = judged(defined, a=mixed(False)).warnings
    assert low.startswith(
        "Pruning was not justified: the rank correlation between the loss at iteration 100 and the loss at the horizon "
        "is -1.00 (95 %"
    )
    assert (
        "; a: 14 trials, 2 of them spared), less than 0.5; try pruner: none or cooled rungs (schedule: wsd in base"
        in low
    )
    assert good.startswith(
        "Pruning would have lost good trials: 2 of 2 spared trials ended better than the median of the others; a trial "
        "21"
    )
    assert "which iteration 100 would have stopped, ended as number 1 of 14 with 0.9900; try" in good


def test_a_later_warmup_is_the_remedy_if_a_later_rung_is_right(defined: Callable[..., StudyDefinition]) -> None:
    trials = mixed(False)
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            trial.intermediate_values[200] = trial.value
    low, _ = judged(defined, a=trials).warnings
    assert "try pruner.warmup: 0.67, pruner: none or cooled rungs" in low


def test_of_survivors_alone_and_of_few_trials_nothing_is_said(defined: Callable[..., StudyDefinition]) -> None:
    assert judged(defined, a=mixed(False, spared=0)).warnings == (), "they were chosen by their loss at the rung"
    few = [ended(0, 1.0, 3.0), ended(1, 2.0, 2.0), ended(2, 3.0, 1.0, spared=100), stopped(3, 4.0)]
    assert judged(defined, a=few).warnings == ()
    (pooled, _) = judged(defined, a=few, b=mixed(False)[6:]).warnings
    assert "; all candidates: 11 trials, 3 of them spared)" in pooled


def test_leaderboard_report_and_note_show_the_warning(
    ask: Ask, tmp_path: Any, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1, "horizon": HORIZON}, pruner="asha")
    study = question.study("q/softmax")
    for trial in mixed(False):
        study.add_trial(trial)
    low, good = fidelity(question.definition, candidates(question)).warnings
    assert main(["study", "leaderboard", "q", "--storage", where]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert low in text
    assert good in text
    assert main(["study", "leaderboard", "q", "--storage", where, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["pruning"]
    assert told["warnings"] == [low, good]
    (rung,) = told["rungs"]
    assert (rung["step"], rung["spared"], rung["stopped"], rung["correlation"]["n"]) == (100, 2, 8, 14)
    html, markdown, _ = (path.read_text() for path in write(question, tmp_path))
    assert "<h2>Pruning</h2>" in html
    assert low in html.replace("\u00a0%", " %")
    assert "## Pruning\n" in markdown
    assert f"{rung['correlation']['value']:.2f}" in html
    publish(question)
    from optuna_dashboard import get_note

    assert low in get_note(study)


def test_nothing_about_pruning_is_in_a_report_without_it(ask: Ask, work: Work, tmp_path: Any) -> None:
    question = ask(budget={"trials": 2})
    work(question)
    html, _, _ = (path.read_text() for path in write(question, tmp_path))
    assert "<h2>Pruning</h2>" not in html


def test_a_real_run_tells_of_its_rungs(ask: Ask, work: Work) -> None:
    draw = random.Random(4)
    question = ask(
        compare=["softmax"],
        pruner={"name": "asha", "spared": 0.5},
        space={"learning_rate": [round(10 ** draw.uniform(-5, -1), 7) for _ in range(12)]},
        sampler="grid",
        budget={"trials": 12, "horizon": 60},
    )
    work(question, slots=2)
    found = fidelity(question.definition, candidates(question))
    trials = question.trials()["q/softmax"]
    assert [rung.step for rung in found.rungs] == [20, 40]
    assert found.rungs[0].correlation.n == sum(trial.state == TrialState.COMPLETE for trial in trials)
    assert found.rungs[0].spared == sum(attributes.SPARED in trial.user_attrs for trial in trials) > 0
    assert sum(rung.stopped for rung in found.rungs) == sum(
        trial.state == TrialState.PRUNED or attributes.SPARED in trial.user_attrs for trial in trials
    )
    assert math.isfinite(found.rungs[1].correlation.value)
