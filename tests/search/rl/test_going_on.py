"""What an interrupted command names to go on with is what was asked, whichever flags that took."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tunemax.search.cli import main
from tunemax.search.cli.command_line import build
from tunemax.search.storage.database import open_storage

SCENE = "--env Tiny-v1 --horizon 12 --frame-skip 4 --controls learning_rate --set n_embd=4 --set bias=false"
CUT = {
    "train": "train.learn",
    "tune": "baselines.tune",
    "headroom": "headroom.measure",
    "evaluate": "contest.hold",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tunemax.search.rl.baselines.chosen", lambda *_: ["a tuning"])


@pytest.mark.parametrize(
    "words",
    [
        "train --algo ppo --seed 0 --steps 120 --envs 2 --round 3 --absolute --out a",
        "train --algo dqn --seed 3 --steps 1e2 --json --storage other.db",
        "tune --policy constant,spline --member-steps 5000 --tunings 3",
        "tune --member-steps 5000 --storage other.db",
        "headroom --instances 8 --member-steps 3500 --seed 0 --out a",
        "headroom --json --storage other.db",
        "evaluate --sets test,larger --instances 3 --margin 0.5 --absolute --out a --json",
        "evaluate",
    ],
)
def test_the_command_that_goes_on_asks_the_same(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    action, *rest = words.split()
    monkeypatch.setattr(f"tunemax.search.rl.{CUT[action]}", pressed)
    if action == "evaluate":
        open_storage("tunemax.db", create=True)
    asked = ["rl", action, *SCENE.split(), *rest]
    assert main(asked) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    again = shlex.split(line[line.index("tunemax rl ") :])[1:]
    parser = build()
    before, after = (vars(parser.parse_args(each)) for each in (asked, again))
    assert {name: after[name] for name, value in before.items() if value is not None} == {
        name: value for name, value in before.items() if value is not None
    }
