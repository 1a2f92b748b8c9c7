"""Winners on fresh seeds: what is frozen, what is trained, and what may be said of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tunemax.gpt.config import Config
from tunemax.gpt.data import Corpus
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.trainer import Trainer
from tunemax.search.cli import main
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.stages import Confirm, Frozen
from tunemax.search.question.study_file import define
from tunemax.search.question.yaml_lines import Fault
from tunemax.search.results.comparison import Runs, compare
from tunemax.search.results.confirmation import Confirmation, changed, confirmation, confirmations, confirmed, ranked
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.results.seeds import runs_per_second
from tunemax.search.results.statistics import estimate
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


def test_a_trial_that_others_have_told_is_best_and_hides_no_winner_of_ours(tuned: Question, work: Work) -> None:
    study = tuned.study("q/softmax")
    ours = study.best_trial.number
    study.add_trial(create_trial(value=0.5))
    (entry,) = [entry for entry in leaderboard(tuned).entries if entry.name == "softmax"]
    assert entry.best
    assert entry.winner
    assert (entry.best.value, entry.winner.number) == (0.5, ours)
    opened = confirm(tuned, THREE)
    assert confirmation(opened).entry("softmax").trial == ours  # type: ignore[union-attr]


def test_another_reference_may_be_asked_for_later(tuned: Question, work: Work) -> None:
    work(confirm(tuned, THREE))
    opened = confirm(tuned, Confirm(seeds=3, reference="polymax"))
    found = confirmation(opened)
    assert found.left == 0, "nothing is trained for it"
    assert {entry.candidate for entry in found.entries if entry.versus} == {"softmax", "sigsoftmax"}
    with pytest.raises(TunemaxError, match="reference = soft: no such candidate of q"):
        confirm(tuned, Confirm(seeds=3, reference="soft"))
    assert confirmation(confirm(tuned, THREE)).reference == "polymax", "it stays until another is named"


def test_more_seeds_change_nothing_that_was_settled_and_no_plan(tuned: Question, work: Work) -> None:
    """Whoever reads it when: looks are made at numbers of seeds that the plan has fixed."""
    opened = confirm(tuned, Confirm(seeds=6))
    work(opened)
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
        ({"seeds": 1}, "confirm.seeds: 1, expected greater than or equal to 2"),
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


# ---- what is said ----------------------------------------------------------------------------------------------------


FIELDS = {"n_layer": 2, "n_embd": 32, "n_head": 2}
URL = f"sqlite:///{Path('studies/tunemax.db').absolute()}"


def told(losses: dict[str, Runs], *, waiting: int = 0, trials: Sequence[FrozenTrial] = ()) -> Confirmation:
    """A confirmation of these losses; those of softmax first."""
    versus = {each.name: each for each in compare(losses, "softmax", 8)}
    entries = []
    for name, found in losses.items():
        frozen, study = Frozen(study=f"q/{name}", trial=1, fields=FIELDS), f"q.confirmed/{name}"
        entry = confirmed(frozen, study, found, trials, versus.get(name), losses["softmax"])
        entries.append(replace(entry, waiting=waiting))
    return Confirmation("q.confirmed", "q", 1000, 1, 8, "softmax", "python_stdlib", ranked(entries, "softmax"), URL, 8)


WOBBLE = [0.01, -0.02, 0.015, 0.0, -0.01, 0.02, -0.015, 0.005]
SOFTMAX: dict[int, float | None] = {1001 + index: 2.0 + wobble for index, wobble in enumerate(WOBBLE)}


def times(factor: float, step: float = 0.001) -> dict[int, float | None]:
    """Losses by so much higher than softmax's, with a scatter."""
    return {seed: loss * (factor + step * (seed % 8) / 4) for seed, loss in SOFTMAX.items() if loss}


def lost(runs: Runs, *seeds: int) -> dict[int, float | None]:
    return {**runs, **dict.fromkeys(seeds, math.inf)}


WHERE = "at 1,000 iterations of a 2×32 model on python_stdlib"


def test_a_candidate_that_is_worse_is_called_so() -> None:
    found = told({"softmax": SOFTMAX, "constantmax": times(1.008)})
    expected = (
        r"constantmax is typically 0\.8\d % worse than softmax in validation loss "
        rf"\(95 % interval 0\.8\d … 0\.9\d %, 8 seeds; p 0\.011\), {WHERE}\."
    )
    assert re.fullmatch(expected, found.verdict)
    assert found.remedies == ()


def test_the_best_of_those_that_are_better_is_the_headline() -> None:
    better, best = times(0.95), times(0.93)
    found = told({"softmax": SOFTMAX, "a": times(1.05), "b": better, "c": best, "late": {}})
    assert [entry.candidate for entry in found.entries] == ["c", "b", "softmax", "a", "late"]
    assert found.verdict.startswith("c is typically 6.9 % better than softmax")
    assert found.verdict.endswith(f"{WHERE}. Better than softmax, too: b.")
    assert found.sentences[0] in found.verdict


def test_a_better_candidate_is_not_hidden_by_one_that_loses_its_runs() -> None:
    """Whose last run has the lowest loss of all."""
    long = {seed: 2.0 + WOBBLE[seed % 8] + 0.001 * (seed % 7) for seed in range(1, 13)}
    lucky = {**dict.fromkeys(range(1, 11), math.inf), 11: 1.5, 12: 1.5}
    better = {seed: loss * (0.95 + 0.001 * (seed % 5)) for seed, loss in long.items()}
    found = told({"softmax": long, "lucky": lucky, "better": better})
    assert found.verdict.startswith("better is typically 4.")
    assert found.verdict.endswith(f"{WHERE}. Diverged: lucky in 10 of 12 runs.")
    assert [entry.candidate for entry in found.entries] == ["better", "softmax", "lucky"]
    worse = told({"softmax": long, "lucky": lucky, "tie": {**long, 12: 2.1}})
    assert worse.verdict.startswith("None of 2 candidates is shown to be better than softmax, at 1,000 iterations")
    assert "lucky (diverged in 10 of 12 runs): worse" in worse.verdict


def test_eleven_of_twelve_lost_are_said_of_either_side() -> None:
    long = {seed: 2.0 + WOBBLE[seed % 8] for seed in range(1, 13)}
    gone = {**dict.fromkeys(range(1, 12), math.inf), 12: 2.0}
    assert "polymax diverged in 11 of 12 runs" in told({"softmax": long, "polymax": gone}).verdict
    saved = told({"softmax": gone, "polymax": long})
    assert saved.verdict.startswith("polymax is typically better than softmax in validation loss (12 seeds;")
    assert saved.verdict.endswith("; softmax diverged in 11 of 12 runs.")


def test_a_tie_is_called_a_tie_and_says_what_would_separate_it() -> None:
    near = {seed: loss + 0.03 * (-1) ** seed + 0.006 for seed, loss in SOFTMAX.items() if loss}
    start = datetime(2026, 1, 1)
    runs = [trial_of(start, start + timedelta(seconds=30)), trial_of(start, start + timedelta(seconds=60))]
    found = told({"softmax": SOFTMAX, "polymax": near}, trials=runs)
    assert found.verdict.startswith("polymax and softmax tie in validation loss: typically +0.3 % (95 % interval -")
    (remedy,) = found.remedies
    tie = found.entry("polymax").versus  # type: ignore[union-attr]
    assert tie
    assert tie.needed
    assert tie.needed.low
    assert tie.needed.low > 8
    assert remedy.startswith(
        f"To tell polymax and softmax apart would probably take {tie.needed.low} to more than 1,000 seeds (about "
    )
    assert remedy.endswith(f"; begin with tunemax study confirm q --seeds {tie.needed.low}")


def trial_of(start: datetime, end: datetime) -> FrozenTrial:
    trial = create_trial(value=1.0)
    trial.datetime_start, trial.datetime_complete = start, end
    return trial


def test_more_seeds_cost_what_the_runs_so_far_have_taken() -> None:
    """Two at once in a minute; what lies between two days of work does not count."""
    start, minute = datetime(2026, 1, 1), timedelta(minutes=1)
    later = start + timedelta(days=2)
    spans = [(start, start + minute), (start, start + minute), (later, later + minute), (later, later + minute)]
    runs = [trial_of(*span) for span in spans]
    assert runs_per_second(runs) == pytest.approx(4 / 120)
    assert runs_per_second([]) is None
    found = told({"softmax": SOFTMAX}, trials=runs)
    assert found.seconds_for(20) == pytest.approx((20 - 8) * 1 * 30)


def test_seeds_too_few_to_show_anything_are_said_to_be() -> None:
    few = {seed: SOFTMAX[seed] for seed in (1001, 1002, 1003)}
    found = replace(told({"softmax": few, "polymax": {seed: times(2)[seed] for seed in few}}), seeds=3, planned=3)
    assert "tie" in found.verdict
    assert found.remedies[0] == "3 seeds can never show a difference; 6 or more could."


def test_runs_that_diverged_are_counted_in_the_sentence() -> None:
    found = told({"softmax": SOFTMAX, "polymax": lost(times(1.1), 1008)})
    assert found.verdict.endswith("; polymax diverged in 1 of 8 runs.")
    assert "8 seeds" in found.verdict


def test_a_mean_loss_leaves_out_runs_that_diverged_and_no_others() -> None:
    entry = told({"softmax": SOFTMAX, "polymax": lost(SOFTMAX, 1002)}).entry("polymax")
    assert entry
    kept = [loss for seed, loss in SOFTMAX.items() if seed != 1002 and loss]
    assert entry.estimate == estimate(kept)
    assert entry.diverged == (1002,)


def test_a_candidate_that_loses_more_runs_is_not_called_better() -> None:
    better = {seed: 2.0 + WOBBLE[seed % 8] - 0.1 + 0.001 * (seed % 5) for seed in range(1, 25)}
    softmax = {seed: 2.0 + WOBBLE[seed % 8] for seed in range(1, 25)}
    found = told({"softmax": softmax, "polymax": lost(better, 7, 11)})
    entry = found.entry("polymax")
    assert entry
    assert entry.verdict == "mixed"
    assert found.verdict.startswith("polymax is not called better than softmax in validation loss: typically it is 4.")
    assert found.verdict.endswith("; polymax diverged in 2 of 24 runs.")
    assert found.remedies == ()


def test_a_candidate_of_which_every_run_diverged_is_named() -> None:
    found = told({"softmax": SOFTMAX, "polymax": dict.fromkeys(SOFTMAX, math.inf)})
    assert found.verdict.startswith("polymax is typically worse than softmax in validation loss (8 seeds; p 0.0")
    assert found.verdict.endswith("; polymax diverged in all 8 runs.")
    assert found.sentences == (found.verdict,)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_tie_whose_interval_leaves_0_out_says_why_it_is_one() -> None:
    near = times(1.002)
    found = told({"softmax": SOFTMAX, **dict.fromkeys("abcde", near)})
    (entry, *_) = [entry for entry in found.entries if entry.versus]
    assert entry.versus
    assert entry.versus.typical.low > 0
    assert entry.verdict == "tie", "8 seeds cannot show a difference among five"
    assert "the interval by itself leaves 0 out, p counts all candidates and looks" in found.sentence(entry)


def test_what_is_still_being_confirmed_says_so() -> None:
    assert told({"softmax": SOFTMAX, "polymax": times(0.999, 0.0)}, waiting=2).verdict.startswith(
        "4 runs still to come; so far: polymax "
    )
    assert told({"softmax": {1: 2.0}}, waiting=3).verdict.startswith(
        "3 runs still to come; so far: Nothing can be said"
    )


def test_nobody_is_left_out() -> None:
    found = told({"softmax": SOFTMAX, "polymax": times(1.1), "late": {1001: None}, "gone": {1001: math.inf}})
    assert "late: nothing known yet" in found.verdict
    assert "gone (diverged in 1 of 1 runs)" in found.verdict
    assert len(found.sentences) == 3
    assert any(each.startswith("late: nothing can be said before two seeds") for each in found.sentences)


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
    file = study_file(confirm={"seeds": 3, "top": 1}, workers=1)
    out = typed(capsys, "study", "run", str(file))
    assert "Confirming q on fresh seeds 1001 to 1003\n3 seeds can never show a difference; 6 or more could.\n" in out
    assert "\nq.confirmed: 0 of 6 trials done, 20 iterations each" in out
    assert "tuned" in out
    assert "reference" in out
    assert "Tuned, not confirmed" not in out
    (found,) = confirmations(load_from(str(file.with_name("tunemax.db")), "q"))
    assert " ".join(found.verdict.split()) in " ".join(out.split())
    again = typed(capsys, "study", "run", str(file))
    assert "q.confirmed: 6 of 6 trials done" in again


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
        "1 trials run elsewhere, so winners may change; once they have ended, confirm them with tunemax"
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
