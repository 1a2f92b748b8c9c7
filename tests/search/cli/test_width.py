"""What a command says fits a terminal of 80 columns, but where a path alone takes most of it."""

from __future__ import annotations

import json
import shlex
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
    "compare",
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
    "clean --storage {}",
]
SMALL = "--n_layer=1 --n_head=2 --n_embd=16 --block_size=16 --batch_size=4 --eval_tokens=128 --no-tensorboard"


def too_wide(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line) > 80 and max(map(len, line.split())) < 50]


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


def test_the_lines_of_a_training(text: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *SMALL.split(), f"--dataset={text}", f"--out_dir={tmp_path / 'run'}", "--schedule=linear"]
    assert main([*words, "--max_iters=60", "--eval_interval=20", "--log_interval=10"]) == 0
    assert main(["train", f"--resume={tmp_path / 'run'}", "--max_iters=80"]) == 0
    told = capsys.readouterr()
    assert too_wide(told.out) == []
    assert "so the learning rate" in told.err
    assert too_wide(told.err) == []
    assert "  validation" in told.out


def test_a_command_to_be_copied_is_the_same_to_a_shell(confirmed: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(["study", "best", "q", f"--storage={confirmed}"])
    narrow = capsys.readouterr().out
    main(["study", "best", "q", f"--storage={confirmed}", "--json"])
    words = json.loads(capsys.readouterr().out)["command"]
    assert " \\\n" in narrow
    assert shlex.split(narrow[narrow.index("tunemax train") :].replace("\\\n", "")) == words
