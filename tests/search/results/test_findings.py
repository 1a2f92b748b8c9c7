"""What is said of a question wherever it is read: on a terminal, in a report, in notes, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from tunemax.gpt.config import Config
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.confirmation import confirmations
from tunemax.search.results.findings import gather, settled
from tunemax.search.results.winners import confirm
from tunemax.search.storage.attributes import CONFIG
from tunemax.search.storage.fresh_seeds import seeds_of
from tunemax.search.storage.questions import Question, load
from tunemax.search.views.answer import answer
from tunemax.search.views.dashboard.publish import publish
from tunemax.search.views.report.contents import sections
from tunemax.search.views.writers import markdown

Ask = Callable[..., Question]
Losses = Callable[[int], float]

RATE = FloatDistribution(1e-4, 1e-1, log=True)
CHANGES = "would probably change in a repeat"


def told(question: Question, rates: dict[str, float], count: int = 10) -> Question:
    """So many complete trials of each candidate, whose best has this learning rate; nothing is left to do."""
    for name, rate in rates.items():
        study = question.study(f"q/{name}")
        for _ in study.get_trials(states=(TrialState.WAITING,)):
            study.tell(study.ask(), state=TrialState.FAIL)
        for index in range(count):
            params = {"learning_rate": rate if not index else 0.01}
            config = json.dumps(Config.of({**question.siblings[f"q/{name}"], **params}).flat())
            trial = create_trial(
                value=2.0 + 0.001 * index,
                params=params,
                distributions={"learning_rate": RATE},
                system_attrs={CONFIG: config},
            )
            study.add_trial(trial)
    return question


def confirmed(question: Question, losses: dict[str, Losses], seeds: int = 12) -> Question:
    """Its winners on fresh seeds, with these losses."""
    opened = confirm(question, Confirm(seeds=seeds))
    drawn = seeds_of(opened.definition)
    for name, loss in losses.items():
        study = opened.study(f"{opened.name}/{name}")
        for _ in drawn:
            trial = study.ask({"seed": IntDistribution(drawn[0], drawn[-1])})
            study.tell(trial, loss(trial.params["seed"]))
    return load(question.storage, question.name)


def shown(question: Question) -> dict[str, str]:
    """By place: all that is said there of a question, on one line."""
    from optuna_dashboard import get_note

    findings = gather(question)
    publish(question)
    places = {
        "terminal": answer(findings),
        "report": markdown.render("", sections(findings)),
        "note": get_note(question.study(next(iter(question.siblings)))),
        "json": json.dumps(findings.to_json(), default=str, ensure_ascii=False),
    }
    return {place: " ".join(text.replace("\\", "").split()) for place, text in places.items()}


def same(seed: int) -> float:
    return 2.0 + 0.01 * (seed % 3)


def worse(seed: int) -> float:
    return 1.05 * same(seed) + 0.001 * (seed % 5)


def better(seed: int) -> float:
    return 0.95 * same(seed) + 0.001 * (seed % 5)


def near(seed: int) -> float:
    return same(seed) + 0.02 * (-1) ** seed


RATES = {"softmax": 0.01, "polymax": 0.01, "softermax": 0.01}


@pytest.fixture
def tuned(ask: Ask) -> Question:
    return told(ask(compare=list(RATES), budget={"trials": 1}), RATES)


def test_before_a_confirmation_the_order_is_spoken_of_everywhere(tuned: Question) -> None:
    for place, text in shown(tuned).items():
        assert f"The tuned order {CHANGES}: one search tells none of them apart" in text, place


def test_what_a_confirmation_has_settled_is_not_spoken_of_as_an_order_of_tuning(tuned: Question) -> None:
    question = confirmed(tuned, {"softmax": same, "polymax": worse, "softermax": worse})
    assert settled(confirmations(question)) == {"softmax", "polymax", "softermax"}
    for place, text in shown(question).items():
        assert CHANGES not in text, place
        assert "one search" not in text, place
        assert "not confirmed" not in text, place


def test_of_what_ties_it_is(tuned: Question) -> None:
    question = confirmed(tuned, {"softmax": same, "polymax": worse, "softermax": near})
    assert settled(confirmations(question)) == {"polymax"}
    order = f"The tuned order of softermax and softmax, which no confirmation has settled, {CHANGES}"
    places = shown(question)
    for place in ("terminal", "report", "json"):
        assert order in places[place], place
        assert places[place].count(CHANGES) == 1, place
    assert gather(question).to_json()["separable"] is False


def test_the_headline_is_the_best_candidate_not_the_last(tuned: Question) -> None:
    question = confirmed(tuned, {"softmax": same, "polymax": better, "softermax": worse})
    (found,) = confirmations(question)
    assert found.verdict.startswith("polymax is typically")
    for place, text in shown(question).items():
        assert "polymax is typically" in text, place


def test_ends_of_ranges_and_unequal_budgets_are_told_everywhere(ask: Ask) -> None:
    question = told(ask(compare=list(RATES), budget={"trials": 1}), {**RATES, "softmax": 0.0999})
    told(question, {"softermax": 0.01}, count=6)
    unequal = "Unequal budgets: softermax has had 16 trials, the others 10; ranks favour it."
    edge = "try learning_rate: {low: 0.0001, high: 1, log: true} in a new study."
    for place, text in shown(question).items():
        assert unequal in text, place
        assert edge in text, place


def test_the_commands_that_name_a_best_trial_tell_it_too(
    ask: Ask, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    question = told(ask(budget={"trials": 1}), {"softmax": 0.0999, "polymax": 0.01}, count=4)
    told(question, {"polymax": 0.01}, count=6)
    unequal = "Unequal budgets: polymax 10, softmax 4 trials; ranks favour those that have had more."
    edge = "learning_rate of the best softmax (0.0999) lies at the upper end"

    def printed(*words: str) -> str:
        assert main(["study", *words, "--storage", where]) == 0
        return " ".join(capsys.readouterr().out.split())

    assert unequal in printed("list")
    assert unequal in printed("best", "q")
    assert unequal not in printed("best", "q/softmax"), "a rank is given for one of several only"
    assert edge in printed("best", "q/softmax")
    assert edge not in printed("best", "q/polymax")


def test_a_confirmed_winner_at_the_end_of_its_range_is_told_though_tuning_has_found_another(ask: Ask) -> None:
    question = told(ask(compare=list(RATES), budget={"trials": 1}), {**RATES, "softmax": 0.0999})
    question = confirmed(question, {"softmax": same, "polymax": worse, "softermax": worse})
    config = json.dumps(Config.of({**question.siblings["q/softmax"], "learning_rate": 0.02}).flat())
    question.study("q/softmax").add_trial(create_trial(value=1.9, system_attrs={CONFIG: config}))
    for place, text in shown(question).items():
        assert "learning_rate of the best softmax as confirmed (0.0999) lies at the upper end" in text, place
    opened = load(question.storage, "q.confirmed")
    assert "learning_rate of the best softmax (0.0999) lies at the upper end" in shown(opened)["note"]


def test_one_that_is_confirmed_half_way_is_not_settled(tuned: Question) -> None:
    confirm(tuned, Confirm(seeds=12, margin=0.02))
    assert settled(confirmations(tuned)) == frozenset()
    assert "study confirm q --seeds 12 --reference softmax --margin 0.02" in shown(tuned)["report"]
