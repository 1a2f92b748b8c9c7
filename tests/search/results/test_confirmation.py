"""Winners on fresh seeds: what is frozen, what is trained, and what may be said of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.trainer import Trainer
from tunemax.search.cli import main
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.stages import Confirm
from tunemax.search.question.study_file import define
from tunemax.search.question.yaml_lines import Fault
from tunemax.search.results.comparison import Runs, compare
from tunemax.search.results.confirmation import Confirmation, changed, confirmation, confirmations
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.results.remedies import remedies
from tunemax.search.results.winners import confirm
from tunemax.search.storage.attributes import PATH
from tunemax.search.storage.questions import Question, extend, load, load_from
from tunemax.search.workers.events import Event, Started

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
THREE = Confirm(seeds=3)


@pytest.fixture
def tuned(ask: Ask, work: Work) -> Question:
    question = ask(compare=["softmax", "polymax", "sigsoftmax"])
    work(question)
    return question


# ---- what is frozen and trained --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "compiled", "frozen"), [({}, False, None), ({}, True, True), ({"compile": True}, False, True)]
)
def test_where_tuning_could_not_compile_confirming_may(
    said: dict[str, Any], compiled: bool, frozen: bool | None, ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the study says stands, whatever the machine was able to do that tuned it."""

    def broken(*_: object) -> None:
        raise RuntimeError("C++ compile error")

    # What was tried is what counts here, and costs half a minute
    monkeypatch.setattr("tunemax.gpt.compile.step.compiled", broken)
    question = ask(base=said, compare=["softmax"])
    work(question.fixing(compile=compiled))
    confirms = confirm(question, THREE).definition.confirms
    assert confirms is not None
    assert confirms.winners["softmax"].fields.get("compile") is frozen


def test_candidates_are_confirmed_on_one_path(ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if one was tuned compiled, and the other one before that, in eager mode."""
    monkeypatch.setattr("tunemax.gpt.compile.step.compiler_fault", lambda: "no compiler here")
    work(ask(compare=["softmax"]).fixing(compile=False))
    question = ask(compare=["softmax", "polymax"])
    work(question.fixing(compile=True))
    confirms = confirm(question, THREE).definition.confirms
    assert confirms is not None
    assert {name: winner.fields.get("compile") for name, winner in confirms.winners.items()} == {
        "softmax": True,
        "polymax": True,
    }


def test_every_winner_meets_the_same_fresh_seeds_and_fresh_text(tuned: Question, work: Work, corpus: Corpus) -> None:
    opened = confirm(tuned, THREE)
    work(opened)
    found = confirmation(opened)
    assert {entry.candidate for entry in found.entries} == {"softmax", "polymax", "sigsoftmax"}
    for entry in found.entries:
        assert sorted(entry.losses) == [1001, 1002, 1003]
        winner = load(tuned.storage, "q").study(entry.source).best_trial
        assert winner.number == entry.trial
        for seed, loss in entry.losses.items():
            config = Config.of({**entry.config, "seed": seed})
            trainer = Trainer(config, corpus)
            member = trainer.add(config)
            trainer.step(20)
            assert trainer.evaluate("confirmation")[member] == loss
    assert len({loss for entry in found.entries for loss in entry.losses.values()}) == 9


def test_what_was_tuned_in_bf16_is_confirmed_in_fp32(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"], base={"precision": "bf16"})
    work(question)
    opened = confirm(question, Confirm(seeds=2))
    work(opened)
    paths = [
        {trial.user_attrs[PATH].split(", ")[1] for trials in each.trials().values() for trial in trials}
        for each in (question, opened)
    ]
    assert paths == [{"bf16"}, {"fp32"}]


def test_seeds_of_a_winner_stand_side_by_side(tuned: Question, work: Work) -> None:
    events = work(confirm(tuned, Confirm(seeds=4)), slots=4)
    started = [event.study for event in events if isinstance(event, Started)]
    assert [len(set(started[index : index + 4])) for index in (0, 4, 8)] == [1, 1, 1]


def test_at_four_times_the_horizon(tuned: Question, work: Work) -> None:
    work(confirm(tuned, THREE))
    work(confirm(tuned, THREE, factor=4))
    near, far = confirmations(tuned)
    assert (near.name, near.horizon, far.name, far.horizon) == ("q.confirmed", 20, "q.confirmed-4x", 80)
    assert all(trial.last_step == 80 for entry in far.entries for trial in entry.trials)
    assert near.member_steps * 4 == far.member_steps == 3 * 3 * 80


def test_more_seeds_are_added_to_those_that_are_there(tuned: Question, work: Work) -> None:
    work(confirm(tuned, THREE))
    (before,) = confirmations(tuned)
    opened = confirm(tuned, Confirm(seeds=5))
    assert confirmation(opened).left == 3 * 2
    work(opened)
    (after,) = confirmations(tuned)
    for entry in after.entries:
        old = before.entry(entry.candidate)
        assert old is not None
        assert dict(old.losses).items() <= dict(entry.losses).items()
        assert len(entry.losses) == 5
    assert confirmation(confirm(tuned, THREE)).left == 0, "fewer seeds are no change"


def test_other_candidates_join_later(tuned: Question, work: Work) -> None:
    work(confirm(tuned, Confirm(seeds=3, top=1)))
    (few,) = confirmations(tuned)
    best = next(entry.name for entry in leaderboard(tuned).entries if entry.name != "softmax")
    assert {entry.candidate for entry in few.entries} == {"softmax", best}
    work(confirm(tuned, THREE))
    (all_of_them,) = confirmations(tuned)
    assert len(all_of_them.entries) == 3
    assert all_of_them.entry(best).losses == few.entry(best).losses  # type: ignore[union-attr]


def test_a_winner_stays_frozen_when_tuning_goes_on(tuned: Question, work: Work) -> None:
    work(confirm(tuned, THREE))
    (before,) = confirmations(tuned)
    study = tuned.study("q/polymax")
    lucky = create_trial(
        params=study.best_params,
        distributions=study.best_trial.distributions,
        value=0.5,
        system_attrs=study.best_trial.system_attrs,
    )
    study.add_trial(lucky)
    confirm(tuned, Confirm(seeds=4))
    (after,) = confirmations(tuned)
    assert after.entry("polymax").trial == before.entry("polymax").trial  # type: ignore[union-attr]
    assert changed(leaderboard(tuned), after) == ["polymax"]


def test_a_question_of_one_candidate_has_a_mean_and_nothing_to_compare_it_with(ask: Ask, work: Work) -> None:
    question = ask(per=None, compare=None)
    work(question)
    work(confirm(question, THREE))
    (found,) = confirmations(question)
    assert found.entries[0].estimate is not None
    assert found.verdict.startswith("q has validation loss ")
    assert found.verdict.endswith("there is nothing to compare it with.")


def test_variants_as_a_dimension_are_confirmed_one_by_one(ask: Ask, work: Work) -> None:
    space = {"softmax_variant": ["softmax", "polymax"], "learning_rate": [1e-3, 1e-2]}
    question = ask(per=None, compare=None, space=space, sampler="grid", budget={"trials": None})
    work(question)
    work(confirm(question, THREE))
    (found,) = confirmations(question)
    assert {(entry.candidate, entry.config["softmax_variant"]) for entry in found.entries} == {
        ("softmax",) * 2,
        ("polymax",) * 2,
    }


def test_seeds_that_tuning_has_trained_on_are_not_fresh(ask: Ask, work: Work) -> None:
    space = {"learning_rate": [1e-3, 1e-2], "seed": [1001, 1002]}
    question = ask(compare=["softmax", "polymax"], space=space, sampler="grid", budget={"trials": None})
    work(question)
    opened = confirm(question, THREE)
    work(opened)
    assert all(sorted(entry.losses) == [2002, 2003, 2004] for entry in confirmation(opened).entries)


def test_a_trial_that_others_have_told_is_not_confirmed(tuned: Question, work: Work) -> None:
    study = tuned.study("q/softmax")
    ours = study.best_trial.number
    study.add_trial(create_trial(value=0.5))
    (entry,) = [entry for entry in leaderboard(tuned).entries if entry.name == "softmax"]
    assert entry.best
    assert entry.best.number == ours
    opened = confirm(tuned, THREE)
    assert confirmation(opened).entry("softmax").trial == ours  # type: ignore[union-attr]


def test_another_reference_may_be_asked_for_later(tuned: Question, work: Work) -> None:
    work(confirm(tuned, THREE))
    opened = confirm(tuned, Confirm(seeds=3, reference="polymax"))
    found = confirmation(opened)
    assert (found.left, "chosen as the reference later" in remedies(found)[0]) == (0, True), "nothing is trained for it"
    assert {entry.candidate for entry in found.entries if entry.versus} == {"softmax", "sigsoftmax"}
    with pytest.raises(TunemaxError, match="reference = soft: no such candidate of q"):
        confirm(tuned, Confirm(seeds=3, reference="soft"))
    assert confirmation(confirm(tuned, THREE)).reference == "polymax", "it stays until another is named"


def test_more_seeds_change_nothing_that_was_settled_and_no_plan(tuned: Question, work: Work) -> None:
    """Whoever reads it when: looks are made at numbers of seeds that the plan has fixed."""
    work(confirm(tuned, Confirm(seeds=6)))
    (first,) = confirmations(tuned)
    work(confirm(tuned, Confirm(seeds=8)))
    (second,) = confirmations(tuned)
    assert (first.planned, second.planned, second.seeds) == (6, 6, 8)
    for entry in first.entries:
        after = second.entry(entry.candidate)
        assert after
        if entry.versus and after.versus:
            assert after.versus.settled.p <= entry.versus.settled.p
            (again,) = [each for each in compare(_runs(second), "softmax", 6) if each.name == entry.candidate]
            assert again == after.versus


def _runs(found: Confirmation) -> dict[str, Runs]:
    return {entry.candidate: {**entry.losses, **dict.fromkeys(entry.diverged, math.inf)} for entry in found.entries}


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_an_unfinished_question_is_not_confirmed(ask: Ask, work: Work) -> None:
    question = ask()
    with pytest.raises(TunemaxError, match=r"q: 6 trials are still to come, .*; finish them with tunemax study run q"):
        confirm(question, THREE)
    work(question)
    extend(question, 1)
    with pytest.raises(TunemaxError, match="2 trials are still to come"):
        confirm(load(question.storage, "q"), THREE)


def test_what_cannot_be_confirmed_is_said(tuned: Question, work: Work) -> None:
    with pytest.raises(TunemaxError, match="reference = softmx: no such candidate of q; did you mean `softmax`"):
        confirm(tuned, Confirm(seeds=3, reference="softmx"))
    opened = confirm(tuned, THREE)
    with pytest.raises(TunemaxError, match=r"q\.confirmed: a confirmation itself; .*tunemax study confirm q --seeds N"):
        confirm(opened, THREE)
    with pytest.raises(
        TunemaxError, match=r"q\.confirmed: a confirmation; give it more seeds with tunemax study confirm q --seeds N"
    ):
        extend(opened, 2)


def test_a_question_without_a_complete_trial_has_no_winner(ask: Ask) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1})
    study = question.study("q/softmax")
    study.tell(study.ask(), state=TrialState.FAIL)
    with pytest.raises(TunemaxError, match="q: no trial is complete, so there is no winner to confirm"):
        confirm(question, THREE)


@pytest.mark.parametrize(
    ("confirm", "told"),
    [
        ({"reference": "softmx"}, "confirm.reference: softmx, no candidate of this study; did you mean `softmax`"),
        (True, "confirm: true, expected a number of seeds, such as 12, or a mapping with options"),
        ("twelve", "confirm: twelve, expected a number of seeds, such as 12, or a mapping with options"),
        ({"seeds": 1}, "confirm.seeds: 1, expected a number ≥ 2"),
        (5, "confirm.seeds: 5, too few to settle anything; 2 candidates need at least 6"),
        (
            {"runs": 15},
            "confirm.runs: 15, too few to settle anything; 2 candidates need at least 16 runs, 8 seeds each",
        ),
        ({"runs": 1}, "confirm.runs: 1, expected a number ≥ 2"),
        ({"margin": 0}, "confirm.margin: 0, expected a number > 0"),
        ({"margin": 0.21}, "confirm.margin: 0.21, expected a number ≤ 0.2"),
        ({"seed": 3}, "confirm.seed: no such key here; did you mean `seeds`"),
    ],
)
def test_a_study_file_that_asks_for_the_impossible(
    plan: Callable[..., dict[str, Any]], confirm: Any, told: str
) -> None:
    with pytest.raises(Fault) as refused:
        define(plan(confirm=confirm), name="q")
    assert str(refused.value).startswith(told)


def test_a_number_is_short_for_so_many_seeds(defined: Callable[..., StudyDefinition]) -> None:
    assert defined(confirm=7).confirm == Confirm(seeds=7)
    assert defined().confirm is None


def test_no_study_file_can_take_a_confirmations_name(plan: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(Fault, match=r"name: q\.confirmed, expected at most 80 letters"):
        define(plan(name="q.confirmed"), name="q")


# ---- as a user meets it ----------------------------------------------------------------------------------------------


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    status = main(list(words))
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    return capsys.readouterr().err


def test_a_study_file_with_a_confirmation_is_confirmed_when_it_is_tuned(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(confirm={"seeds": 6, "top": 1}, workers=1)
    out = typed(capsys, "study", "run", str(file))
    done = "q.confirmed: 0 of 12 trials done, 20 iterations each"
    assert f"Confirming q on fresh seeds 1001 to 1006\n{done}\n" in out
    assert re.search(r"^2 candidates on 6 seeds: 12 runs, about \d+ s at the speed of the tuning$", out, re.MULTILINE)
    assert "tuned" in out
    assert "reference" in out
    assert "Tuned, not confirmed" not in out
    (found,) = confirmations(load_from(str(file.with_name("tunemax.db")), "q"))
    assert " ".join(found.verdict.split()) in " ".join(out.split())
    again = typed(capsys, "study", "run", str(file))
    assert "q.confirmed: 12 of 12 trials done" in again
    assert "2 candidates on 6 seeds: 12 runs, none of them to come\n" in again


def test_a_trial_that_runs_elsewhere_is_waited_for_without_a_confirmation_too(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(compare=["softmax"], workers=1, budget={"trials": 2, "horizon": 5})
    typed(capsys, "study", "create", str(file))
    load_from(str(file.with_name("tunemax.db")), "q").study("q/softmax").ask()
    last = typed(capsys, "study", "run", str(file)).splitlines()[-1]
    assert last.startswith("1 trial runs elsewhere, so winners may change; once it has ended, go on with tunemax")


def test_a_trial_that_runs_elsewhere_keeps_winners_open(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(compare=["softmax"], confirm=2, workers=1, budget={"trials": 2})
    storage = str(file.with_name("tunemax.db"))
    typed(capsys, "study", "create", str(file))
    asked = load_from(storage, "q").study("q/softmax").ask()
    out = typed(capsys, "study", "run", str(file))
    assert "1 complete" in out or "1/2 trials" in out
    assert out.splitlines()[-1].startswith(
        "1 trial runs elsewhere, so winners may change; once it has ended, confirm them with tunemax"
    )
    line = refused(capsys, "study", "confirm", "q", "--storage", storage)
    url = f"--storage sqlite:///{storage}"
    end = f"optuna tell {url} --study-name q/softmax --trial-number {asked.number} --state fail"
    assert line.endswith(
        f"trial {asked.number} of q/softmax was asked with the stock tools; tell it, or end it with {end}\n"
    )


def test_hints_name_the_storage(study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = study_file(compare=["softmax"])
    storage = str(file.with_name("tunemax.db"))
    typed(capsys, "study", "create", str(file))
    assert refused(capsys, "study", "best", "q", "--storage", storage).endswith(
        f"tunemax study run q --storage {storage}\n"
    )
    assert f"tunemax study run q --storage {storage}" in refused(capsys, "study", "confirm", "q", "--storage", storage)
    told = refused(capsys, "study", "leaderboard", "q/softmax", "--storage", storage)
    assert told == "tunemax: q/softmax: one of the 1 studies of the question q; name that\n"


def test_the_commands_around_a_confirmation(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(workers=1)
    storage = ["--storage", str(file.with_name("tunemax.db"))]
    typed(capsys, "study", "run", str(file))
    assert "expected 2 to 1000" in refused(capsys, "study", "confirm", "q", "--seeds", "1", *storage)
    out = typed(capsys, "study", "confirm", "q", "--seeds", "3", "--workers", "1", *storage)
    assert "3 seeds can never show" in " ".join(out.split())
    board = json.loads(typed(capsys, "study", "leaderboard", "q", "--json", *storage))
    (found,) = board["confirmations"]
    assert (found["reference"], found["seeds"], found["left"]) == ("softmax", 3, 0)
    assert typed(capsys, "study", "leaderboard", "q.confirmed", *storage) == typed(
        capsys, "study", "leaderboard", "q", *storage
    )
    assert "no best trial" in refused(capsys, "study", "best", "q.confirmed", *storage)
    assert "q.confirmed: 6 complete\n" in typed(capsys, "study", "list", *storage)
    assert "4 studies with 12 trials" in refused(capsys, "study", "delete", "q", *storage)
    typed(capsys, "study", "delete", "q", "--yes", *storage)
    assert typed(capsys, "study", "list", *storage) == "no questions yet\n"


def test_the_dashboard_shows_what_is_confirmed(tuned: Question, work: Work) -> None:
    from optuna_dashboard import get_note

    from tunemax.search.views.dashboard.publish import publish

    work(confirm(tuned, THREE))
    for question in (tuned, load(tuned.storage, "q.confirmed")):
        publish(question)
    (found,) = confirmations(tuned)
    for name in ("q/softmax", "q.confirmed/polymax"):
        note = get_note(load_from(tuned.storage.url, name.partition("/")[0]).study(name))
        assert f"**{found.verdict}**" in note
        assert f"{found.entries[0].estimate.mean:.4f}" in note  # type: ignore[union-attr]
