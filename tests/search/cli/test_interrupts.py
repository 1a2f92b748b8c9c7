"""Ctrl-C at any moment: one line that says how to go on, status 130, and neither a traceback nor silence."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE

from tunemax.gpt import run as runs
from tunemax.gpt.interrupt import held_back
from tunemax.search.cli import _say, interrupts, main
from tunemax.search.cli.interrupts import STOPPING
from tunemax.search.views.dashboard import publish

PRESSED_AT = """
import os, signal, sys
def press(event, arguments):
    if event == "import" and arguments[0] == sys.argv[1] and sys.argv[1] not in pressed:
        pressed.add(sys.argv[1])
        os.kill(os.getpid(), signal.SIGINT)
pressed = set()
sys.addaudithook(press)
from tunemax.search.cli import main
status = main(sys.argv[2:])
sys.exit(status if pressed else "this module is never imported")
"""
SMALL = ["--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=16", "--batch_size=4", "--no-tensorboard"]


def python(code: str, *words: str, cwd: Path) -> subprocess.Popen[str]:
    asked = [sys.executable, "-c", code, *words]
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        asked,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("tunemax.search.cli.interrupts", "study run q.yaml"),
        ("argparse", "study run q.yaml"),
        ("tunemax.search.cli.command_line", "study list"),
        ("tunemax.search.question.study_file", "study run q.yaml"),
        ("sqlalchemy", "study confirm q"),
        ("optuna", "study resume q"),
        ("tunemax.search.api", "study run q.yaml"),
        ("torch", "train --max_iters 5"),
        ("tunemax.search.cli.flags", "train --max_iters 5"),
        ("torch", "rl train --env Constantmax-v0 --algo ppo --steps 10"),
        ("gymnasium", "rl tune --env Constantmax-v0 --member-steps 1000"),
        ("tunemax.gpt.data", "prepare text.txt"),
    ],
)
def test_ctrl_c_while_modules_are_loaded(moment: str, words: str, study_file: Callable[..., Path]) -> None:
    process = python(PRESSED_AT, moment, *words.split(), cwd=study_file().parent)
    said = process.communicate(timeout=PATIENCE)[1].splitlines()
    again = f"tunemax: interrupted; nothing is lost; go on with tunemax {words}"
    assert (process.returncode, [line for line in said if line != STOPPING]) == (130, [again])


def _command(monkeypatch: pytest.MonkeyPatch, body: Callable[[], object]) -> None:
    """`tunemax fields` does something else."""
    monkeypatch.setattr("tunemax.search.cli.fields.run", lambda _: body())


class _PressedInTheEnd:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("ends", [True, False], ids=["the command ends", "the command goes on"])
def test_ctrl_c_while_python_can_raise_nothing_is_not_lost(
    ends: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        circle: list[Any] = [_PressedInTheEnd()]
        circle.append(circle)
        del circle
        gc.collect()
        end = time.monotonic() + (0 if ends else PATIENCE)
        while time.monotonic() < end:
            time.sleep(0.01)

    _command(monkeypatch, body)
    assert main(["fields"]) == 130
    assert capsys.readouterr().err == "tunemax: interrupted; nothing is lost; go on with tunemax fields\n"


@pytest.mark.parametrize("number", interrupts.SIGNALS, ids=lambda number: number.name)
def test_who_waits_for_a_save_is_told_so(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupts, "WORD", 0.01)
    said = ""

    def body() -> None:
        nonlocal said
        with held_back():
            signal.raise_signal(number)
            end = time.monotonic() + PATIENCE
            while not said and time.monotonic() < end:
                time.sleep(0.01)
                said += capsys.readouterr().err

    _command(monkeypatch, body)
    before = signal.getsignal(number)
    assert main(["fields"]) == 130
    assert said == f"{STOPPING}\n"
    assert signal.getsignal(number) == before


ENDLESS = """
import sys, time
from tunemax.gpt.interrupt import held_back
from tunemax.search.cli import fields, main
def endless(_):
    with held_back():
        print("begun", file=sys.stderr, flush=True)
        while True:
            time.sleep(1)
fields.run = endless
sys.exit(main())
"""


@pytest.mark.parametrize("number", interrupts.SIGNALS, ids=lambda number: number.name)
def test_pressed_again_it_ends_at_once(number: signal.Signals, tmp_path: Path) -> None:
    process = python(ENDLESS, "fields", cwd=tmp_path)
    assert process.stderr
    assert process.stderr.readline() == "begun\n"
    process.send_signal(number)
    process.send_signal(number)  # a wrapper may pass on what the whole group has got: this is no second Ctrl-C
    assert process.stderr.readline() == f"{STOPPING}\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "tunemax: ended at once; go on with tunemax fields\n")


@pytest.mark.parametrize(
    ("recorded", "again"),
    [(True, "continue with tunemax train --resume r"), (False, "go on with tunemax {}")],
    ids=["its folder is there", "nothing is there"],
)
def test_pressed_again_a_run_says_how_it_goes_on_from_its_folder(
    recorded: bool,
    again: str,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", *SMALL, f"--dataset={text}", "--max_iters=3", "--out_dir=r"]

    def ended(*_: Any, **__: Any) -> None:
        _say("ended at once", words)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    place, name = (runs, "_go_on") if recorded else (runs.Record, "of")
    monkeypatch.setattr(place, name, ended)
    assert main(words) == 130
    assert capsys.readouterr().err.splitlines()[0] == f"tunemax: ended at once; {again.format(' '.join(words))}"
    assert interrupts.way_on() == ""


def test_who_ignores_ctrl_c_goes_on_ignoring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the background of a script, and under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _command(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
        assert main(["fields"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("words", [["--storage", "{}"], ["--storage={}"]], ids=len)
def test_no_password_is_told_with_the_command_to_go_on_with(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tunemax.search.cli.work.file_to_read", pressed)
    url = "postgresql://me:hunter2hunter2@host/studies"
    assert main(["study", "run", "q", *(word.format(url) for word in words)]) == 130
    again = "go on with tunemax study run q (with TUNEMAX_STORAGE set)"
    assert capsys.readouterr().err == f"tunemax: interrupted; nothing is lost; {again}\n"


def test_a_training_that_was_recorded_and_has_not_begun_is_resumed(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "events_folder", lambda *_: pressed() if (tmp_path / "r/config.json").exists() else None)
        assert main(["train", *SMALL, f"--dataset={text}", "--max_iters=3", "--out_dir=r"]) == 130
    again = "nothing was trained yet; continue with tunemax train --resume r"
    assert capsys.readouterr().err == f"tunemax: interrupted; {again}\n"
    assert main(["train", "--resume=r"]) == 0


def test_an_interrupted_run_says_nothing_of_a_dashboard_that_is_not_up_to_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "try_to_publish", lambda *_: "the storage is out of reach")
    with publish.publishing("studies.db", "q"):
        pass
    assert "the storage is out of reach" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt), publish.publishing("studies.db", "q"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


MANY_FILES = """
import os, resource, signal, sys, time
from tunemax.search.cli.interrupts import listening
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
with listening(for_good=False, say=lambda what: print(what, file=sys.stderr, flush=True)):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        for _ in range(20):
            time.sleep(0.5)
            signal.raise_signal(signal.SIGINT)
"""


def test_a_second_press_is_heard_however_many_files_are_open(tmp_path: Path) -> None:
    """`select` knows the first 1,024 only."""
    process = python(MANY_FILES, cwd=tmp_path)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line != STOPPING] == ["ended at once"]
