"""What a confirmation is begun with: seeds that nobody has seen a result of, a margin, a planned number of seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from tunemax.gpt.config import Config
from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.stages import Confirm, Confirms
from tunemax.search.question.study_file import define
from tunemax.search.question.yaml_lines import Fault
from tunemax.search.results.repeats import lay_out_repeats
from tunemax.search.results.winners import confirm
from tunemax.search.storage.attributes import CONFIG, DEFINITION, SEEDS_USED
from tunemax.search.storage.fresh_seeds import seeds_of
from tunemax.search.storage.questions import Question, load
from tunemax.search.storage.removal import delete

Ask = Callable[..., Question]
THREE = Confirm(seeds=3)


def ended(question: Question) -> Question:
    """Every candidate has one complete trial, and nothing is left to do."""
    for name, fixed in question.siblings.items():
        study = question.study(name)
        for _ in study.get_trials(states=(TrialState.WAITING,)):
            study.tell(study.ask(), state=TrialState.FAIL)
        flat = json.dumps(Config.of({**fixed, "learning_rate": 0.01}).flat())
        lr = {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True)}
        study.add_trial(
            create_trial(value=2.0, params={"learning_rate": 0.01}, distributions=lr, system_attrs={CONFIG: flat})
        )
    return question


@pytest.fixture
def tuned(ask: Ask) -> Question:
    return ended(ask(budget={"trials": 1}))


def seeds(confirmation: Question) -> tuple[int, int]:
    found = seeds_of(load(confirmation.storage, confirmation.name).definition)
    return found[0], found[-1]


def again(question: Question, stage: Confirm = THREE, factor: int = 1) -> Question:
    """Deleted, and begun anew."""
    delete(question.storage, [confirm(question, stage, factor).name])
    return confirm(question, stage, factor)


# ---- seeds -----------------------------------------------------------------------------------------------------------


def test_one_that_is_begun_anew_has_seeds_that_none_before_it_had(tuned: Question) -> None:
    assert seeds(confirm(tuned, THREE)) == (1001, 1003)
    assert seeds(again(tuned)) == (1004, 1006)
    assert seeds(confirm(tuned, Confirm(seeds=10))) == (1004, 1013), "more seeds are added behind its own"
    assert seeds(again(tuned)) == (1014, 1016)


def test_seeds_of_one_that_was_made_before_they_were_kept_in_mind_are_used_too(tuned: Question) -> None:
    confirm(tuned, THREE)
    for name in tuned.siblings:
        tuned.study(name).set_user_attr(SEEDS_USED, "{}")
    delete(tuned.storage, ["q.confirmed"])
    assert seeds(confirm(tuned, THREE)) == (1004, 1006)


def test_horizons_share_seeds_that_neither_has_used(tuned: Question) -> None:
    assert seeds(confirm(tuned, THREE)) == seeds(confirm(tuned, THREE, factor=4)) == (1001, 1003)
    assert seeds(again(tuned, factor=4)) == (1004, 1006), "at four times the horizon 1001 has been seen"
    assert seeds(again(tuned)) == (1004, 1006), "and at the tuned one 1004 has not"
    assert seeds(again(tuned, factor=2)) != (1001, 1003)


def test_a_longer_one_after_one_that_was_deleted_is_fresh(tuned: Question) -> None:
    delete(tuned.storage, [confirm(tuned, THREE).name])
    assert seeds(confirm(tuned, THREE, factor=4)) == (1004, 1006)


def test_repeats_share_the_seeds_of_the_first_tuning(ask: Ask) -> None:
    question = ended(ask(budget={"trials": 1}, repeats=2))
    (repeat,) = map(ended, lay_out_repeats(question))
    assert seeds(confirm(question, THREE)) == seeds(confirm(repeat, THREE)) == (1001, 1003)
    assert seeds(again(question)) == (1004, 1006)
    assert seeds(again(repeat)) == (1004, 1006)
    assert seeds(confirm(repeat, THREE, factor=4)) == (1004, 1006)


def test_a_repeat_that_is_confirmed_first_has_the_seeds_that_the_first_tuning_would_have(ask: Ask) -> None:
    question = ended(ask(budget={"trials": 1}, repeats=2))
    (repeat,) = map(ended, lay_out_repeats(question))
    assert seeds(confirm(repeat, THREE)) == (1001, 1003)
    assert seeds(confirm(question, THREE)) == (1001, 1003)


def test_the_reference_is_softmax_wherever_it_stands_else_the_first(ask: Ask) -> None:
    last = confirm(ended(ask(compare=["polymax", "softmax"], budget={"trials": 1})), THREE)
    assert last.definition.confirms
    assert last.definition.confirms.reference == "softmax"
    without = confirm(ended(ask(name="other", compare=["sigsoftmax", "polymax"], budget={"trials": 1})), THREE)
    assert without.definition.confirms
    assert without.definition.confirms.reference == "sigsoftmax", "in the question's order, not that of results"


def test_a_candidate_that_joins_later_does_not_hide_what_was_used(tuned: Question, ask: Ask) -> None:
    delete(tuned.storage, [confirm(tuned, THREE).name])
    more = ask(budget={"trials": 1}, compare=["softmax", "polymax", "softermax"])
    assert seeds(confirm(ended(more), THREE)) == (1004, 1006)


# ---- margin and plan -------------------------------------------------------------------------------------------------


def begun(question: Question) -> Confirms:
    confirms = load(question.storage, question.name).definition.confirms
    assert confirms is not None
    return confirms


def test_the_margin_is_chosen_at_the_beginning_and_stays(tuned: Question) -> None:
    assert begun(confirm(tuned, THREE)).margin == 0.005
    delete(tuned.storage, ["q.confirmed"])
    wide = Confirm(seeds=3, margin=0.02)
    assert begun(confirm(tuned, wide)).margin == 0.02
    assert begun(confirm(tuned, Confirm(seeds=5))).margin == 0.02, "who says nothing changes nothing"
    assert begun(confirm(tuned, wide)).margin == 0.02
    with pytest.raises(TunemaxError, match=r"margin = 0\.01: q\.confirmed was begun with 0\.02, which stays; .* --yes"):
        confirm(tuned, Confirm(seeds=5, margin=0.01))


@pytest.mark.parametrize(
    ("margin", "told"),
    [
        (0, "confirm.margin: 0, expected a number > 0"),
        (-0.01, "confirm.margin: -0.01, expected a number > 0"),
        (0.3, "confirm.margin: 0.3, expected a number ≤ 0.2"),
        ("0.5%", "confirm.margin: 0.5%, expected a number"),
        (True, "confirm.margin: true, expected a number"),
    ],
)
def test_a_margin_that_is_none_is_refused(plan: Callable[..., dict[str, Any]], margin: Any, told: str) -> None:
    with pytest.raises(Fault) as refused:
        define(plan(confirm={"margin": margin}), name="q")
    assert str(refused.value) == told


@pytest.mark.parametrize("margin", ["0", "-1", "0.21", "5%", "nan", "inf", "half"])
def test_a_margin_on_the_command_line_is_a_share(capsys: pytest.CaptureFixture[str], margin: str) -> None:
    assert main(["study", "confirm", "q", f"--margin={margin}"]) == 2
    told = f"tunemax: --margin = {margin}: expected a share above 0, up to 0.2; 0.005 is half a percent\n"
    assert capsys.readouterr().err == told


def test_more_seeds_do_not_change_how_many_were_planned(tuned: Question) -> None:
    assert begun(confirm(tuned, THREE)).planned == 3
    more = confirm(tuned, Confirm(seeds=9))
    assert (begun(more).planned, len(seeds_of(more.definition))) == (3, 9)


@pytest.mark.parametrize(("looks", "planned"), [([], 3), ([2], 2)])
def test_one_of_before_opens_and_was_planned_as_it_was_first_looked_at(
    tuned: Question, looks: list[int], planned: int
) -> None:
    opened = confirm(tuned, THREE)
    written = json.loads(opened.definition.to_json())
    for key in ("planned", "margin"):
        del written["confirms"][key]
    old = StudyDefinition.from_json(json.dumps(written | {"confirms": written["confirms"] | {"looks": looks}}))
    for name in opened.siblings:
        opened.study(name).set_user_attr(DEFINITION, old.to_json())
    assert begun(opened).first_planned(3) == planned
    more = begun(confirm(tuned, Confirm(seeds=9)))
    assert (more.planned, more.margin, more.looks) == (planned, 0.005, tuple(looks))
