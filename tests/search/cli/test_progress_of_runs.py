"""Long work says how far it is, and how long it still takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunemax.gpt.run import Row
from tunemax.search.cli import main
from tunemax.search.cli.train import saying
from tunemax.search.storage import questions
from tunemax.search.storage.urls import storage_errors

SIZES = ["--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=16", "--batch_size=4", "--no-tensorboard"]


def test_a_run_says_how_far_it_is_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([50.0, 60.0, 130.0])  # the first 50 s are of compiling
    say = saying(1000, now=lambda: next(clock))
    for iteration in (100, 200, 900, 1000):
        say(Row(iteration, 3.0, 0.01, 1.0, 5000.0, 100.0))
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first.startswith("iteration 100/1000  train 3.0000  rate 0.01")
    assert "left" not in first
    assert second.endswith("5,000 tokens/s  about 80 s left")
    assert third.endswith("about 10 s left")
    assert "left" not in last


def test_a_schedule_that_is_stretched_is_told(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for schedule in ("linear", "constant"):
        words = [*SIZES, f"--dataset={text}", f"--out_dir={schedule}", "--max_iters=10", f"--schedule={schedule}"]
        assert main(["train", *words]) == 0
    capsys.readouterr()
    assert main(["train", "--resume=linear", "--max_iters=20"]) == 0
    stretched = "its schedule (linear) is that of 20 iterations from here on, so the learning rate jumps"
    assert capsys.readouterr().err == f"max_iters = 20 instead of 10: {stretched}\n"
    assert main(["train", "--resume=constant", "--max_iters=20"]) == 0
    assert capsys.readouterr().err == ""


def test_ctrl_c_in_the_first_seconds_says_how_to_go_on(
    study_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    file = study_file()
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr(questions, "data_of", interrupted)
    assert main(["study", "run", "q.yaml"]) == 130
    assert capsys.readouterr().err.endswith("interrupted; nothing is lost; go on with tunemax study run q.yaml\n")


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("pymysql", "PyMySQL"),
        ("MySQLdb", "mysqlclient"),
        ("psycopg", "psycopg[binary]"),
        ("psycopg2", "psycopg2-binary"),
        ("oracledb", "oracledb"),
    ],
)
def test_a_missing_driver_is_named_as_it_is_installed(module: str, package: str) -> None:
    with (
        pytest.raises(Exception, match="needs the Python package") as told,
        storage_errors("postgresql://host/studies", ImportError),
    ):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert f"needs the Python package {package}; install it" in str(told.value)
