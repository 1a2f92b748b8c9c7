"""Repeats of a tuning: the same search with other seeds, confirmed on the same fresh seeds, and what they say
together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.confirmation import confirmation
from tunemax.search.results.leaderboard import Leaderboard, leaderboard
from tunemax.search.results.repeats import Repeats, lay_out_repeats, repeating, repeats, summary
from tunemax.search.results.winners import confirm
from tunemax.search.storage.questions import Question, extend, load_from
from tunemax.search.workers.events import Event

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]


@pytest.fixture
def repeated(ask: Ask, work: Work) -> Question:
    question = ask(compare=["softmax", "polymax", "sigsoftmax"], repeats=3, budget={"trials": 2})
    work(question)
    for repeat in lay_out_repeats(question):
        work(repeat)
    return question


def test_a_repeat_is_the_same_search_with_another_seed(repeated: Question) -> None:
    second, third = repeating(repeated)
    assert (second.name, third.name) == ("q.repeat-2", "q.repeat-3")
    assert [each.definition.seed for each in (repeated, second, third)] == [1, 2, 3]
    for repeat in (second, third):
        assert repeat.definition.space == repeated.definition.space
        assert {len(trials) for trials in repeat.trials().values()} == {2}
    firsts = [each.study(f"{each.name}/softmax").trials[0] for each in (repeated, second, third)]
    assert len({trial.value for trial in firsts}) == 3, "other initial values and another order of the data"
    assert firsts[0].params["learning_rate"] == firsts[1].params["learning_rate"], "the baseline is the same"


def test_the_leaderboards_of_all_repeats_stand_side_by_side(repeated: Question) -> None:
    found = repeats(repeated)
    assert found
    boards = [leaderboard(each) for each in (repeated, *repeating(repeated))]
    for spread in found.spreads:
        assert spread.best == tuple(
            next(e.best.value for e in board.entries if e.name == spread.candidate and e.best) for board in boards
        )
        assert spread.over
        assert spread.over.mean == pytest.approx(sum(filter(None, spread.best)) / 3)
    means = [spread.over.mean for spread in found.spreads if spread.over]
    assert means == sorted(means)
    assert -1 <= found.correlation <= 1


def test_every_repeat_is_confirmed_on_the_same_fresh_seeds(repeated: Question, work: Work) -> None:
    for each in (repeated, *repeating(repeated)):
        opened = confirm(each, Confirm(seeds=2))
        work(opened)
        assert {seed for entry in confirmation(opened).entries for seed in entry.losses} == {1001, 1002}
    found = repeats(repeated)
    assert found
    assert found.reference == "softmax"
    by_name = {spread.candidate: spread for spread in found.spreads}
    assert by_name["softmax"].difference == (None, None, None)
    assert all(share is not None for share in by_name["polymax"].difference)
    assert any(
        sentence.startswith("polymax to softmax, confirmed after each of them: ") for sentence in found.sentences
    )


def test_repeats_follow_the_first_when_it_is_extended(repeated: Question, work: Work) -> None:
    longer = extend(repeated, 1)
    assert {len(trials) for repeat in lay_out_repeats(longer) for trials in repeat.trials().values()} == {3}


def test_a_repeat_is_not_extended_by_itself(repeated: Question) -> None:
    with pytest.raises(
        TunemaxError, match=r"q\.repeat-2: a repeat of q; extend q, and its repeats follow when it is run"
    ):
        extend(repeating(repeated)[0], 1)


def test_a_question_without_repeats_has_none(ask: Ask) -> None:
    question = ask()
    assert lay_out_repeats(question) == []
    assert repeats(question) is None


def test_how_repeats_agree() -> None:
    agreeing = told([[2.0, 2.1, 2.2], [2.05, 2.1, 2.3]])
    assert agreeing.correlation == pytest.approx(1)
    assert agreeing.sentences[0] == "2 repeats of the tuning: rank correlation of their leaderboards 1.00."
    assert told([[2.0, 2.1, 2.2], [2.3, 2.2, 2.1]]).correlation == pytest.approx(-1)
    assert math.isnan(told([[2.0], [2.1]]).correlation)
    assert told([[2.0], [2.1]]).to_json()["correlation"] is None


def told(bests: list[list[float]]) -> Repeats:
    """Repeats of candidates a, b, … with these best losses."""
    boards = []
    for own in bests:
        outcomes = [type("Best", (), {"value": loss}) for loss in own]
        entries = [type("Entry", (), {"name": name, "best": best}) for name, best in zip("abc", outcomes, strict=False)]
        boards.append(Leaderboard("?", "q", tuple(entries)))  # type: ignore[arg-type]
    return summary("q", [f"q{index}" for index in range(len(bests))], boards, [{} for _ in bests], None)


def test_from_the_command_line_everything_is_run_shown_and_deleted(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    plan: dict[str, Any] = {
        "compare": ["softmax", "polymax"],
        "budget": {"trials": 1},
        "repeats": 2,
        "confirm": 6,
        "workers": 1,
    }
    file = study_file(**plan)
    storage = str(file.with_name("tunemax.db"))
    assert main(["study", "run", str(file)]) == 0
    out = capsys.readouterr().out
    assert "repeat 1" in out
    assert "repeat 2" in out
    assert "polymax to softmax, confirmed after each of them: " in out
    spent = "Budget spent: tuning 40 member-steps (2,560 tokens), in all 2 repeats 80 (5,120 tokens), confirmation "
    assert spent in " ".join(out.split())
    assert "confirmation of the other repeats 240." in " ".join(out.split())
    assert main(["study", "leaderboard", "q", "--storage", storage, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repeats"]["names"] == ["q", "q.repeat-2"]
    assert main(["report", "q", "--storage", storage]) == 0
    report = Path(capsys.readouterr().out.splitlines()[0]).read_text()
    assert "<h2>Repeats</h2>" in report
    assert main(["study", "delete", "q", "--storage", storage, "--yes"]) == 0
    with pytest.raises(TunemaxError, match="it is empty"):
        load_from(storage, "q")
