"""A mixture of code, torch and devices: on each trial, told where ranks are read, refused for pairs of seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete

from tunemax.gpt import origin
from tunemax.search.api import objective, open_study
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.findings import gather
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.results.winners import confirm
from tunemax.search.storage import attributes
from tunemax.search.storage.origins import Mixed, continued, parts_of
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.storage.tables import SYSTEM
from tunemax.search.views.dashboard.publish import publish
from tunemax.search.workers.events import Event, Reported
from tunemax.search.workers.pulling import Puller

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
KINDS = ("code", "kind", "torch")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From now on this process is another one: with another torch, say."""
    here = origin.of_process("cpu")

    def move(**other: str) -> None:
        for module in ("gpt.origin", "search.api", "search.workers.pulling"):
            monkeypatch.setattr(f"tunemax.{module}.of_process", lambda device: {**here, **other})

    return move


def trials(question: Question) -> list[FrozenTrial]:
    return [trial for each in question.trials().values() for trial in each]


def stop_after(work: Work, question: Question, reports: int) -> None:
    seen: list[Event] = []
    hear = lambda event: seen.append(event) if isinstance(event, Reported) else None  # noqa: E731
    work(question, on=hear, stopping=lambda: len(seen) >= reports)


def rewrite(question: Question, trial: FrozenTrial, value: list[Any]) -> None:
    """Have it say something else of where a trial was trained."""
    here = SYSTEM.c.trial_id == trial._trial_id, SYSTEM.c.key == attributes.ORIGIN
    with question.storage.engine.begin() as connection:
        connection.execute(SYSTEM.update().where(*here).values(value_json=json.dumps(value)))


def forget(question: Question) -> None:
    """Make it a question of before origins were recorded."""
    with question.storage.engine.begin() as connection:
        connection.execute(delete(SYSTEM).where(SYSTEM.c.key == attributes.ORIGIN))


def test_each_trial_says_where_it_was_trained(ask: Ask, work: Work) -> None:
    question = ask()
    work(question)
    for trial in trials(question):
        (part,) = parts_of(trial)
        assert part == {**origin.of_process("cpu"), "from": 0}
    assert set(part) == {"code", "device", "from", "host", "kind", "python", "torch", "tunemax"}
    assert leaderboard(question).mixed is None


def test_parts_of_a_trial_that_goes_on_elsewhere_are_kept(ask: Ask, work: Work, elsewhere: Callable[..., None]) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1, "horizon": 40})
    stop_after(work, question, 1)
    elsewhere(torch="9.9.9+cu999", host="other")
    stop_after(work, question, 1)
    elsewhere()
    work(question)
    here = origin.of_process("cpu")
    parts = parts_of(trials(question)[0])
    assert [(part["from"], part["host"]) for part in parts] == [(0, here["host"]), (10, "other"), (20, here["host"])]
    told = leaderboard(question).mixed
    version = here["torch"].partition("+")[0]
    assert told is not None
    assert told.startswith(f"Trained in different ways: 1 trial with torch {version} then torch 9.9.9. ")


def test_a_part_of_the_same_origin_is_none_of_its_own() -> None:
    one, other = {"host": "a"}, {"host": "b"}
    begun = continued([], one, 0)
    assert continued(begun, one, 10) == begun == [{"host": "a", "from": 0}]
    assert continued(begun, other, 10) == [*begun, {"host": "b", "from": 10}]
    assert continued(begun, other, 0) == [{"host": "b", "from": 0}]


def test_a_trial_that_begins_anew_has_one_part(
    ask: Ask, work: Work, elsewhere: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was trained elsewhere nothing is in its numbers: its snapshot has stayed there."""
    question = ask(compare=["softmax"], budget={"trials": 1, "horizon": 40})
    stop_after(work, question, 1)
    elsewhere(torch="9.9.9")
    monkeypatch.setenv("TUNEMAX_RUNS", "/nonexistent/runs")
    work(question)
    (trial,) = trials(question)
    assert [(part["from"], part["torch"]) for part in parts_of(trial)] == [(0, "9.9.9")]


def test_a_mixture_is_told_where_ranks_are_read(
    ask: Ask, work: Work, where: str, elsewhere: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    question = ask(budget={"trials": 2})
    work(question)
    elsewhere(torch="9.9.9", host="other")
    ask(budget={"trials": 3})
    work(question)
    here = str(parts_of(question.trials()["q/softmax"][0])[0]["torch"]).partition("+")[0]
    mixed = (
        f"Trained in different ways: 4 trials with torch {here} (2 of softmax, 2 of polymax); "
        "2 trials with torch 9.9.9 (1 of softmax, 1 of polymax). Losses of one setting may differ by that alone."
    )
    assert leaderboard(question).mixed == mixed
    assert mixed in gather(question).cautions
    for words in (["list"], ["best", "q"], ["best", "q/softmax"], ["leaderboard", "q"]):
        assert main(["study", *words, "--storage", where]) == 0
        assert mixed in " ".join(capsys.readouterr().out.split()), words
        assert main(["study", *words, "--storage", where, "--json"]) == 0
        assert mixed in capsys.readouterr().out, words
    publish(question)
    assert "torch 9.9.9" in str(question.storage.get_study_system_attrs(question.study("q/softmax")._study_id))


def test_another_host_alone_is_no_mixture(ask: Ask, work: Work, elsewhere: Callable[..., None]) -> None:
    question = ask(budget={"trials": 1})
    work(question)
    elsewhere(host="other", python="3.99", device="another processor")
    ask(budget={"trials": 2})
    work(question)
    assert leaderboard(question).mixed is None


@pytest.mark.parametrize("aspect", KINDS)
def test_pairs_of_seeds_never_mix(
    ask: Ask, work: Work, where: str, elsewhere: Callable[..., None], aspect: str
) -> None:
    question = ask(budget={"trials": 1, "horizon": 20})
    work(question)
    confirmed = confirm(question, Confirm(seeds=6), 1)
    stop_after(work, confirmed, 1)
    elsewhere(**{aspect: "9.9.9"})
    line = r"^q.confirmed: its seeds so far were trained with .*, and here is .*9.9.9; pairs of seeds must not mix: "
    with pytest.raises(
        Mixed, match=line + r"train it with the same, or begin anew .* tunemax study delete q.confirmed"
    ):
        Puller(where, ["q"]).run()
    with pytest.raises(Mixed, match=line):
        objective(open_study("q.confirmed/softmax", where))
    notes: list[str] = []
    assert Puller(where, note=notes.append).run()
    assert [note.endswith("; it is left to other workers") for note in notes] == [True]
    elsewhere()
    assert Puller(where, ["q"]).run()
    assert {trial.state for trial in trials(confirmed)} == {TrialState.COMPLETE}
    assert gather(load_from(where, "q")).confirmations[0].mixed is None


def test_of_two_that_begin_together_one_is_refused(
    ask: Ask, work: Work, where: str, elsewhere: Callable[..., None]
) -> None:
    """Both have looked, and nothing was there; what is written is looked at again."""
    question = ask(budget={"trials": 1, "horizon": 10})
    work(question)
    confirmed = confirm(question, Confirm(seeds=6), 1)
    heard: list[Event] = []

    def other(event: Event) -> None:
        heard.append(event)
        if len(heard) == 1:
            elsewhere(torch="9.9.9")

    with pytest.raises(Mixed, match=r"and here is torch 9.9.9"):
        work(confirmed, slots=1, on=other)
    ways = {part["torch"] for trial in trials(confirmed) for part in parts_of(trial)}
    assert "9.9.9" not in ways
    assert TrialState.RUNNING not in {trial.state for trial in trials(confirmed)}


def test_the_run_that_confirms_says_it(ask: Ask, work: Work, where: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In a process of its own each worker has the real origin, so here it is the database that is of another torch."""
    question = ask(budget={"trials": 1, "horizon": 20})
    work(question)
    confirmed = confirm(question, Confirm(seeds=6), 1)
    stop_after(work, confirmed, 1)
    for trial in trials(confirmed):
        rewrite(confirmed, trial, [{**part, "code": "0123456789abcdef"} for part in parts_of(trial)])
    assert main(["study", "confirm", "q", "--seeds", "6", "--storage", where]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith(
        "tunemax: q.confirmed: its seeds so far were trained with code 0123456789abcdef, and here is"
    )


def test_a_confirmation_of_before_goes_on_as_before(
    ask: Ask, work: Work, where: str, elsewhere: Callable[..., None]
) -> None:
    """What it was trained with nobody knows."""
    question = ask(budget={"trials": 1, "horizon": 10})
    work(question)
    confirmed = confirm(question, Confirm(seeds=6), 1)
    work(confirmed)
    forget(confirmed)
    elsewhere(torch="9.9.9")
    more = confirm(load_from(where, "q"), Confirm(seeds=8), 1)
    work(more)
    assert {trial.state for trial in trials(more)} == {TrialState.COMPLETE}
    assert gather(load_from(where, "q")).confirmations[0].mixed is None


def test_an_old_mixture_of_a_confirmation_is_told(ask: Ask, work: Work, where: str) -> None:
    question = ask(budget={"trials": 1, "horizon": 10})
    work(question)
    confirmed = confirm(question, Confirm(seeds=6), 1)
    work(confirmed)
    trial = confirmed.trials()["q.confirmed/polymax"][0]
    other = [{**parts_of(trial)[0], "kind": "cuda"}]
    rewrite(confirmed, trial, other)
    (told,) = (each.mixed for each in gather(load_from(where, "q")).confirmations)
    assert told is not None
    assert told.startswith("q.confirmed: trained in different ways: 11 trials with cpu (")
    assert "1 trial with cuda (1 of polymax)" in told
    assert told in gather(load_from(where, "q")).cautions


@pytest.mark.parametrize("value", [[1, "x", None], [{"torch": 3}], []])
def test_what_others_have_written_there_is_no_fault(ask: Ask, work: Work, value: list[Any]) -> None:
    question = ask(compare=["softmax"], budget={"trials": 2})
    work(question)
    rewrite(question, trials(question)[0], value)
    assert leaderboard(question).entries[0].complete == 2
