"""How stable candidates train: learning rates side by side on several seeds, what diverged, where a guard acted."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.study_file import define
from tunemax.search.question.yaml_lines import Fault
from tunemax.search.results.leaderboard import Candidate, candidates
from tunemax.search.results.sensitivity import AtRate, at_rates, lr_sensitivity
from tunemax.search.storage import attributes
from tunemax.search.storage.artifacts import uploaded
from tunemax.search.storage.questions import Question
from tunemax.search.views.dashboard.publish import publish
from tunemax.search.views.report import write
from tunemax.search.views.report.stability import sensitivity, stability
from tunemax.search.workers.events import Event

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
RATES, SEEDS = [1e-3, 1e-2, 1e-1], [1, 2]
GRID: dict[str, Any] = {
    "space": {"learning_rate": RATES, "seed": SEEDS},
    "sampler": "grid",
    "budget": {"trials": None, "horizon": 20},
}


def trial(rate: float, value: float, **attributes: Any) -> FrozenTrial:
    state = attributes.pop("state", TrialState.COMPLETE)
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params={"learning_rate": rate},
        distributions={"learning_rate": CategoricalDistribution(RATES)},
        user_attrs=attributes,
    )


def test_a_grid_trains_every_learning_rate_on_every_seed(ask: Ask, work: Work) -> None:
    question = ask(**GRID)
    work(question)
    for trials in question.trials().values():
        assert {(each.params["learning_rate"], each.params["seed"]) for each in trials} == {
            (r, s) for r in RATES for s in SEEDS
        }
        assert len({each.value for each in trials}) == len(RATES) * len(SEEDS), "a seed is another training"


@pytest.mark.parametrize("sampler", ["tpe", "random", "auto"])
def test_seeds_are_not_tuned(plan: Callable[..., dict[str, Any]], sampler: str) -> None:
    with pytest.raises(
        Fault, match=r"space\.seed: a seed is no setting to tune; with sampler: grid several may be listed"
    ):
        define(plan(space={"learning_rate": RATES, "seed": SEEDS}, sampler=sampler), name="q")


def test_the_seed_of_a_study_is_still_set_by_its_own_key(plan: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(Fault, match=r"base\.seed: seed is decided by seed in a study file; take it out of base"):
        define(plan(base={"seed": 3}), name="q")


def test_runs_are_gathered_by_learning_rate() -> None:
    points = at_rates(
        [
            trial(1e-2, 2.0),
            trial(1e-3, 2.4),
            trial(1e-2, 2.2),
            trial(1e-1, 6.0, diverged="loss"),
            trial(1e-1, 2.6),
            trial(1e-1, 2.0, state=TrialState.PRUNED),
        ]
    )
    assert [(point.rate, point.losses, point.caps) for point in points] == [
        (1e-3, (2.4,), ()),
        (1e-2, (2.0, 2.2), ()),
        (1e-1, (2.6,), (6.0,)),
    ]
    assert points[1].interval
    assert points[0].interval is None
    assert lr_sensitivity(points) == pytest.approx((2.4 + 2.1 + 4.3) / 3 - 2.1)


@given(st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=4), min_size=1, max_size=5), st.floats(-5, 5))
def test_sensitivity_is_of_the_differences_alone(groups: list[list[float]], shift: float) -> None:
    def points(by: float) -> list[AtRate]:
        return [
            AtRate(float(rate), tuple(loss + by for loss in group), (), math.nan, None)
            for rate, group in enumerate(groups, 1)
        ]

    found = lr_sensitivity(points(0.0))
    assert found >= -1e-12
    assert lr_sensitivity(points(shift)) == pytest.approx(found, abs=1e-9)
    assert lr_sensitivity(points(0.0)[:1]) == 0


def test_what_diverged_or_was_guarded_is_counted_with_its_interval() -> None:
    runs = [
        trial(1e-2, 2.0, guarded=0.0),
        trial(1e-2, 2.1, guarded=0.2),
        trial(1e-1, 6.0, guarded=0.0, diverged="loss"),
        trial(1e-3, 2.3, spikes=3, highest_spike=8.25, first_spike=7),
    ]
    (table,) = stability([Candidate("polymax", "q/polymax", runs)], []).tables
    assert table.rows == (
        ("polymax", "tuning", "4", "1", "25 %", "5 … 70 %", "1", "33 %", "6 … 79 %", "1", "3", "8.25"),
    )


def test_only_a_grid_of_learning_rates_has_their_curve(defined: Callable[..., StudyDefinition]) -> None:
    found = [Candidate("softmax", "q/softmax", [trial(1e-3, 2.4), trial(1e-2, 2.0)])]
    section = sensitivity(defined(**GRID), found)
    assert section.figures
    assert section.tables[0].rows == (("softmax", "0.01", "0.200", "2.4000", "2.0000"),)
    more = {**GRID, "space": {"learning_rate": RATES, "weight_decay": [0.1, 0.2]}}
    assert not sensitivity(defined(**more), found).tables, "other settings moved, too"
    assert not sensitivity(defined(sampler="tpe"), found).tables, "a sampler has chosen the rates"


def test_a_report_of_learning_rates(ask: Ask, work: Work, tmp_path: Path) -> None:
    question = ask(
        **GRID
        | {
            "space": {"learning_rate": [1e-2, 1e-1, 10.0], "seed": SEEDS},
            "base": {"grad_clip": 0, "warmup_fraction": 0},
        }
    )
    work(question)
    lost = {
        name: sum(attributes.DIVERGED in each.user_attrs for each in trials)
        for name, trials in question.trials().items()
    }
    assert lost["q/softmax"] == len(SEEDS), "a learning rate of 10 diverges"
    html, markdown, _ = (path.read_text() for path in write(question, tmp_path))
    assert "<h2>Learning rate</h2>" in html
    assert "2 of 2 diverged" in markdown
    (best,) = [row for row in markdown.splitlines() if row.startswith("| softmax | 0.") and "diverged" in row]
    points = at_rates(next(found for found in candidates(question) if found.name == "softmax").trials)
    assert f"| {lr_sensitivity(points):.3f} |" in best
    publish(question)
    written = question.storage.get_study_system_attrs(question.study("q/softmax")._study_id)
    assert "learning_rate.png" in {meta.filename for meta in uploaded(written)}


def test_the_preset_asks_for_learning_rates_and_seeds() -> None:
    from tunemax.search.question.study_file import load_study_file

    definition: StudyDefinition = load_study_file(Path(__file__).parents[3] / "studies" / "learning_rate.yaml")
    assert set(definition.space) == {"learning_rate", "seed"}
    assert definition.budget.trials == 6 * 5
