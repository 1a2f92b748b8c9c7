"""What a command says fits a terminal of 80 columns, but for commands to be copied and paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.winners import confirm
from tunemax.search.storage.questions import Question

HELP = [
    "",
    "study",
    "study run",
    "study confirm",
    "rl",
    "rl train",
    "rl evaluate",
    "train",
    "report",
    "dashboard",
    "clean",
]
LOOKS = [
    "study files",
    "fields",
    "doctor --storage {}",
    "study list --storage {}",
    "study leaderboard q --storage {}",
    "study leaderboard q.confirmed --storage {}",
    "study show q --storage {}",
    "study best q --storage {}",
    "study replay q --storage {}",
]


def too_wide(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line) > 80 and "tunemax " not in line and "/" not in line]


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def confirmed(ask: Callable[..., Question], work: Callable[..., Any], where: str) -> str:
    question = ask(
        question="Which of these two is ahead, in a question that is longer than a line of eighty columns?",
        compare=["softmax", "polymax"],
        space={"learning_rate": "default", "weight_decay": "default", "polymax.power": "default"},
    )
    work(question)
    work(confirm(question, Confirm(seeds=6)))
    return where


@pytest.mark.parametrize("command", HELP)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "--help-all") if command == "train" else ("--help",):
        with pytest.raises(SystemExit):
            main([*command.split(), flag])
        assert too_wide(capsys.readouterr().out) == []


@pytest.mark.parametrize("command", LOOKS)
def test_what_is_looked_at(command: str, confirmed: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(command.format(confirmed).split())
    told = capsys.readouterr()
    assert told.out
    assert too_wide(told.out) == []


def test_what_a_text_has_come_to(text: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(text.parent / text.name)]) == 0
    assert too_wide(capsys.readouterr().err) == []
