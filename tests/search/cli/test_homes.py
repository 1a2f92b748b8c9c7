"""`~` is a home wherever a path is asked for; that of nobody is refused in one line, and no folder is called so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tunemax.search.cli import main

SMALL = "--n_layer=1 --n_head=2 --n_embd=16 --block_size=16 --batch_size=4 --max_iters=3 --no-tensorboard"
SCENE = "--env Constantmax-v1 --horizon 12"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return home


@pytest.mark.parametrize(
    "words",
    [
        "train --out_dir=~nobody-of-this-name/x",
        "train --resume=~nobody-of-this-name/x",
        "train --config=~nobody-of-this-name/x",
        "train --dataset=~nobody-of-this-name/x",
        "prepare ~nobody-of-this-name/x",
        "study list --storage=~nobody-of-this-name/x",
        "study list --storage=sqlite:///~nobody-of-this-name/x",
        "report q --out=~nobody-of-this-name/x",
        "rl publish ~nobody-of-this-name/x --name a",
        "rl publish . --name a --verdict=~nobody-of-this-name/x",
        "rl publish . --name a --out=~nobody-of-this-name/x",
        "rl steer ~nobody-of-this-name/x",
        f"rl train {SCENE} --algo ppo --steps 10 --preset=~nobody-of-this-name/x",
        f"rl train {SCENE} --algo ppo --steps 10 --out=~nobody-of-this-name/x",
        f"rl headroom {SCENE} --out=~nobody-of-this-name/x",
        f"rl evaluate {SCENE} --out=~nobody-of-this-name/x",
    ],
)
def test_the_home_of_nobody(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    remedy = "no user has the home ~nobody-of-this-name; what is called so here is ./~nobody-of-this-name"
    assert capsys.readouterr().err.endswith(f"~nobody-of-this-name/x: {remedy}\n")
    assert list(Path().iterdir()) == []


def test_a_run_in_a_home(home: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(text, home / "text.txt")
    words = SMALL.split()
    assert main(["train", *words, "--dataset=~/text.txt", "--out_dir=~/run"]) == 0
    assert main(["train", "--resume=~/run", "--max_iters=4"]) == 0
    assert main(["train", "--config=~/run", "--out_dir=other"]) == 0
    assert f"the run is in {home / 'run'}" in capsys.readouterr().out
    assert [path.name for path in Path().iterdir()] == ["other"]
