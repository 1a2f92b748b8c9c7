"""Long commands and the signals that end them; and two that would train in one folder."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tunemax.gpt import checkpoint, run
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.locks import locked, locked_at_once
from tunemax.search.cli import main
from tunemax.search.cli.interrupts import STOPPING

TUNEMAX = [sys.executable, "-c", "import sys; from tunemax.search.cli import main; sys.exit(main())"]
SMALL = shlex.split(
    "--n_layer 1 --n_head 2 --n_embd 16 --block_size 16 --batch_size 4 --device cpu --no-compile "
    "--log_interval 10 --eval_interval 10 --eval_tokens 128"
)
SCENE = shlex.split(
    "--env Constantmax-v1 --horizon 8 --frame-skip 4 --set n_layer=1 --set n_embd=16 --set n_head=2 "
    "--set block_size=16 --set batch_size=4"
)


class Command:
    """A command of its own process."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*TUNEMAX, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )

    def until(self, word: str) -> None:
        assert self.process.stdout
        while word not in (line := self.process.stdout.readline()):
            assert line, self.process.stderr.read() if self.process.stderr else ""

    def end(self, number: signal.Signals) -> tuple[int, list[str]]:
        """Exit status, and what it says at last."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=120)
        return self.process.returncode, err.splitlines()


def training(out: Path, text: Path, iterations: int = 10**6) -> list[str]:
    return ["train", *SMALL, "--dataset", str(text), "--out_dir", str(out), "--max_iters", str(iterations)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_training_is_saved_whichever_signal_ends_it(number: signal.Signals, tmp_path: Path, text: Path) -> None:
    out = tmp_path / "run"
    command = Command(*training(out, text))
    command.until("iteration 10/")
    status, lines = command.end(number)
    saved = checkpoint.load(out / run.CHECKPOINT).iteration
    assert saved >= 10
    again = f"continue with tunemax train --resume {out}"
    said = [line for line in lines if line != STOPPING]
    assert (status, said) == (130, [f"tunemax: interrupted; saved at iteration {saved}; {again}"])
    command = Command("train", "--resume", str(out), "--max_iters", str(saved + 10))
    assert command.process.wait(timeout=120) == 0
    assert checkpoint.load(out / run.CHECKPOINT).iteration == saved + 10


def test_an_agents_training_ends_as_by_ctrl_c(tmp_path: Path, text: Path) -> None:
    where = ["--storage", str(tmp_path / "s.db"), "--out", str(tmp_path / "agent")]
    command = Command("rl", "train", *SCENE, "--algo", "ppo", "--steps", "1000000", "--envs", "2", *where)
    command.until("steps in")
    status, lines = command.end(signal.SIGTERM)
    assert status == 130
    assert lines[-1].startswith("tunemax: interrupted; ")
    assert "with tunemax rl train --env Constantmax-v1" in lines[-1]


def test_one_folder_is_trained_in_by_one_process(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = Command(*training(out, text))
    command.until("iteration 10/")
    for words in (["train", "--resume", str(out)], training(out, text)):
        assert main(words) == 2
        refusal = f"{out}: another process trains here; wait for it, or choose another --out_dir"
        assert capsys.readouterr().err == f"tunemax: {refusal}\n"
    command.process.kill()  # the lock goes with the process
    command.process.wait()
    saved = checkpoint.load(out / run.CHECKPOINT).iteration
    assert main(["train", "--resume", str(out), "--max_iters", str(saved + 10)]) == 0


def _link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _nowhere(path: Path, target: Path) -> None:
    path.symlink_to(target.with_name("nothing"))


def _pipe(path: Path, _target: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path, _target: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [_link, _nowhere, _pipe, _folder], ids=lambda make: make.__name__.strip("_"))
@pytest.mark.parametrize("lock", [locked, locked_at_once])
def test_a_lock_is_a_plain_file_and_nothing_else_is_touched(
    tmp_path: Path, make: Callable[[Path, Path], None], lock: Callable[[Path], object]
) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    make(tmp_path / ".lock", target)
    with pytest.raises(TunemaxError, match="expected a lock, which is a plain file"), lock(tmp_path / ".lock"):  # type: ignore[attr-defined]
        pass
    assert target.read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "precious"}


def test_a_lock_changes_no_file_and_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.write_text("kept")
    order: list[str] = []

    def second() -> None:
        with locked(path):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(path):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert path.read_text() == "kept"
