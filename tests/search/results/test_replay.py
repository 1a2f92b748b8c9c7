"""``tunemax study replay``: what another pruner would have done, against cases by hand and against real runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.question.pruners import Asha, Median, NoPruner, Pruner
from tunemax.search.results.replay import Replayed, replay
from tunemax.search.storage import attributes
from tunemax.search.storage.ownership import release
from tunemax.search.storage.questions import Question
from tunemax.search.workers.events import Event

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]


def curve(*losses: float, state: TrialState = TrialState.COMPLETE, **more: Any) -> FrozenTrial:
    """Losses at 10, 20, 30, …; of a horizon of 40."""
    steps = {10 * (i + 1): loss for i, loss in enumerate(losses)}
    return create_trial(
        state=state,
        value=losses[-1],
        intermediate_values=steps,
        user_attrs={attributes.ITERATIONS: 10 * len(losses), **more},
    )


def recorded(ask: Ask, *trials: FrozenTrial, **more: Any) -> Question:
    """A question whose trials are these and no others."""
    question = ask(**{"compare": ["softmax"], "budget": {"trials": 1, "horizon": 40}, **more})
    for name in question.siblings:
        study = question.study(name)
        study.tell(study.ask(), state=TrialState.FAIL)  # the one that waits
        for trial in trials:
            study.add_trial(trial)
    return question


def one(found: Sequence[Replayed]) -> Replayed:
    (each,) = found
    return each


CROSSING = (curve(5, 4, 3, 2.0), curve(5, 3, 2.5, 2.5), curve(5, 4.5, 2, 1.5), curve(5, 2, 2, 1.8))
"""The third is worst at 20, the first rung, and best in the end."""


def test_a_median_by_hand(ask: Ask) -> None:
    found = one(replay(recorded(ask, *CROSSING), Median(startup=2)))
    # trial 3 meets the median of 4 and 3 at iteration 20 with 4.5 and is stopped; trial 4 is better than the median
    # everywhere
    assert (found.full, found.stopped, found.cut, found.spent, found.needed) == (4, 1, 0, 160, 140)
    assert (found.winner, found.kept) == (3, False)
    assert found.regret == pytest.approx(1.8 - 1.5)
    assert found.saved == pytest.approx(20 / 160)


def test_asha_by_hand(ask: Ask) -> None:
    found = one(replay(recorded(ask, *CROSSING), Asha(warmup=0.5)))
    # at 20: 4 goes on (alone), 3 goes on (best of two), 4.5 is stopped (one of three goes on), 2 goes on
    assert (found.stopped, found.needed, found.kept) == (1, 140, False)
    assert one(replay(recorded(ask, *CROSSING, name="q2"), Asha(warmup=0.75))).kept, "at 30 it leads"


def test_none_saves_nothing_and_loses_nothing(ask: Ask) -> None:
    found = one(replay(recorded(ask, *CROSSING), NoPruner()))
    assert (found.spent, found.needed, found.stopped, found.kept, found.regret) == (160, 160, 0, True, 0.0)


def test_pruned_trials_end_where_they_ended_and_duplicates_cost_nothing(ask: Ask) -> None:
    pruned, again = curve(5, 4.2, state=TrialState.PRUNED), curve(5, 3, 2.5, 2.5, duplicate_of=2, iterations=0)
    diverged = curve(5, 9, diverged="diverged: loss is nan")
    question = recorded(ask, *CROSSING[:2], pruned, again, diverged, CROSSING[3])
    found = one(replay(question, NoPruner()))
    assert (found.full, found.cut, found.spent, found.needed) == (4, 1, 140, 140)
    median = one(replay(question, Median(startup=2)))
    assert median.cut == 0, "it would have stopped the pruned one there as well"
    assert (median.stopped, median.regret) == (0, 0.0), "one that diverges ends by itself"


def test_the_pruner_of_a_run_replayed_on_full_curves_does_what_it_does_when_it_runs(ask: Ask, work: Work) -> None:
    plan = {
        "compare": ["softmax"],
        "space": {"learning_rate": [3e-3, 3e-2, 1e-4, 1e-2, 1e-5, 2e-2, 1e-3, 5e-3]},
        "sampler": "grid",
        "budget": {"trials": 8, "horizon": 40},
    }
    full = ask(**plan, name="full")
    work(full, slots=1)
    for number, pruner in enumerate(({"name": "asha", "spared": 0.0}, {"name": "median", "startup": 2, "spared": 0.0})):
        pruned = ask(**plan, name=f"pruned{number}", pruner=pruner)
        work(pruned, slots=1)
        found = one(replay(full, Pruner.model_validate(pruner)))
        trials = pruned.trials()[f"pruned{number}/softmax"]
        assert found.stopped == sum(trial.state == TrialState.PRUNED for trial in trials) > 0
        assert found.needed == sum(trial.user_attrs[attributes.ITERATIONS] for trial in trials)
        assert found.spent == 8 * 40


def test_cooled_rungs_are_replayed_with_their_branches_and_at_no_other_place(ask: Ask, work: Work) -> None:
    cooled = {"name": "asha", "cooled": True, "spared": 1.0}
    question = ask(
        compare=["softmax"],
        space={"learning_rate": [1e-2, 1e-5, 1e-6, 2e-2]},
        sampler="grid",
        base={"schedule": "wsd"},
        budget={"trials": 4, "horizon": 60},
        pruner=cooled,
    )
    work(question, slots=1)
    found = one(replay(question, question.definition.pruner))
    branches = 4 + 8
    assert found.spent == 4 * (60 + branches)
    stops = [trial.user_attrs.get(attributes.SPARED) for trial in question.trials()["q/softmax"]]
    assert found.needed == sum({20: 24, 40: 52, None: 72}[stop] for stop in stops) < found.spent
    with pytest.raises(
        TunemaxError,
        match="q: cooled rungs are recorded at 20, 40 and nowhere else; leave --warmup and --reduction out",
    ):
        replay(question, Asha(cooled=True, warmup=0.5))


def test_what_cannot_be_replayed_is_refused(ask: Ask) -> None:
    question = ask()
    with pytest.raises(
        TunemaxError,
        match=r"6 trials are still to come; finish it with tunemax study run q --storage \S+, or withdraw them",
    ):
        replay(question, Asha())
    taken = question.study("q/softmax").ask()
    with pytest.raises(TunemaxError, match="6 trials are still to come"):
        replay(question, Asha())
    release(question.storage, taken, None)
    with pytest.raises(
        TunemaxError, match="q2: no trial is complete, so there is nothing to keep or to lose; give it more with"
    ):
        replay(recorded(ask, curve(5, 4, state=TrialState.PRUNED), name="q2"), Asha())
    searched = recorded(
        ask, *CROSSING, name="q3", space={"learning_rate": "default", "schedule": ["cosine", "constant"]}
    )
    with pytest.raises(TunemaxError, match=r"space.schedule: the pruner would compare trials in different phases"):
        replay(searched, Asha())


def test_the_command_prints_a_table_or_json(ask: Ask, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(ask, *CROSSING, curve(5, 1, state=TrialState.PRUNED))
    words = ["study", "replay", "q", "--storage", where, "--pruner", "median", "--startup", "2"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()[:2]] == [
        ["full", "curves", "stopped", "spent", "needed", "saved", "winner", "regret"],
        ["q/softmax", "4", "1", "160", "140", "12", "%", "lost", "0.3000"],
    ]
    assert "Pruner median, warmup 0.333, startup 2: trials one after the other" in out
    assert "1 trial was pruned before this pruner would have stopped it" in out
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pruner"]["name"] == "median"
    assert told["studies"][0] | {"saved": None} == {
        "study": "q/softmax", "full": 4, "cut": 1, "stopped": 1, "spent": 160, "needed": 140, "winner": 3,
        "kept": False,
        "regret": pytest.approx(0.3), "saved": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--pruner", "asah"], "--pruner asah: no such pruner; did you mean `asha`?"),
        (["--pruner", "asha", "--warmup", "0.1"], "--warmup = 0.1: expected a number ≥ 0.33"),
        (["--warmup", "x"], "--warmup = x: expected a number, such as 0.5"),
        (["--startup", "2"], "--pruner none has no startup; it belongs to median"),
        (["--reduction", "0"], "--reduction = 0: expected a whole number ≥ 1"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    ask: Ask, where: str, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    recorded(ask, *CROSSING)
    assert main(["study", "replay", "q", "--storage", where, *flags]) == 2
    assert capsys.readouterr().err == f"tunemax: {told}\n"
