"""What a run prints: a picture on a terminal that leaves no trace, lines of text elsewhere."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import textwrap
from pathlib import Path

import pytest
from waiting import PATIENCE

from tunemax.search.views.live.progress import Candidate, Progress
from tunemax.search.views.live.view import REFRESH, STATUS, shown
from tunemax.search.workers.events import Finished, Note, Reported, Started

ROOT = Path(__file__).parents[3]
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
# Two trials on a clock that the run itself moves on. Between what happens, it waits until the picture was drawn anew.
RUN = """
    import subprocess, sys, time
    import tunemax.search.views.live.view
    from tunemax.search.workers.events import Finished, Note, Reported, Started
    from tunemax.search.views.live.progress import Candidate, Progress

    clock, drawn, draw = 0.0, 0, tunemax.search.views.live.view.picture

    def counted(*arguments):
        global drawn
        drawn += 1
        return draw(*arguments)

    def drawn_anew():
        wanted = drawn + 2  # one may be on its way, and show what was before
        while drawn < wanted and "lines" not in sys.argv:
            time.sleep(0.01)

    tunemax.search.views.live.view.picture = counted
    began = time.monotonic()
    progress = Progress({"q/softmax": Candidate(2), "q/polymax": Candidate(2)}, now=lambda: clock)
    with tunemax.search.views.live.view.shown(progress) as view:
        view(Started(0, "q/softmax", 0, 40))
        clock = 2.0
        view(Reported(0, "q/softmax", 0, 20, 3.5))
        drawn_anew()
        subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('last words\\\\nof a worker\\\\n')"])
        view(Note(0, "worker 0 died"))
        clock = 5.0
        view(Finished(0, "q/softmax", 0, 40, "complete", 3.25))
        drawn_anew()
        if "fail" in sys.argv:
            raise SystemExit("something went wrong")
    print("the leaderboard")
    print("after", time.monotonic() - began)
"""
SUMMARY = "1/4 trials: 1 complete  0:05 elapsed  8 member-steps/s"


def on_terminal(*words: str, columns: int = 80, rows: int = 24, **environment: str) -> str:
    """All that a terminal of this size gets from a small run."""
    process, terminal = pty.fork()
    if process == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.chdir(ROOT)
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        }
        source = textwrap.dedent(RUN)
        os.execve(
            sys.executable, [sys.executable, "-c", source, *words], {**kept, "TERM": "xterm-256color", **environment}
        )
    said, ready = b"", select.poll()  # which knows numbers of files above 1,023, too
    ready.register(terminal, select.POLLIN)
    while ready.poll(1000 * PATIENCE):
        try:
            said += os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
    os.waitpid(process, 0)
    os.close(terminal)
    return said.decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def said() -> str:
    return on_terminal()


def test_a_terminal_shows_the_picture_and_keeps_only_the_summary(said: str) -> None:
    text = CONTROL.sub("", said)
    assert re.search(r"softmax +#0 +━━━━━───── +20/40 +3.5000 +▄", text)
    assert re.search(r"softmax +━+─+ +1/2 +1 ", text)
    erased = said.rindex("\x1b[2K")
    left = CONTROL.sub("", said[erased:]).strip("\r\n").splitlines()
    assert left[:-1] == ["worker 0 died", SUMMARY, "the leaderboard"]
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor is back"


def test_a_cell_of_a_notebook_gets_lines(said: str) -> None:
    """A notebook gives what a cell calls a terminal, forces colours, and then only appends what comes."""
    in_cell = on_terminal("lines", JPY_PARENT_PID="1", FORCE_COLOR="1", CLICOLOR_FORCE="1")
    assert CONTROL.search(said)
    assert not CONTROL.search(in_cell)
    assert "q/softmax trial 0: complete at iteration 40  loss 3.2500  [1/4]" in in_cell
    assert SUMMARY in in_cell


def test_what_a_worker_writes_scrolls_above_the_picture(said: str) -> None:
    drawn = CONTROL.sub("", said)
    assert re.search(r"\rlast words\nof a worker\n[01]/4 trials", drawn), "whole, and the picture is below again"
    assert drawn.count("last words") == 1


def test_the_picture_is_calm(said: str) -> None:
    text = CONTROL.sub("", said)
    pictures, seconds = text.count("candidate") / 2, float(text.split()[-1])  # it heads both tables
    assert pictures <= REFRESH * seconds + 5, "four times a second, at both ends, and for each thing that scrolls"
    assert "\x1b[2J" not in said, "the screen is never wiped"


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (40, 10)])
def test_no_line_is_longer_than_the_terminal(columns: int, rows: int) -> None:
    lines = CONTROL.sub("", on_terminal(columns=columns, rows=rows)).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= max(columns, len(SUMMARY))
    assert any(line.startswith("0/4 trials") for line in lines)


def test_colours_are_left_out_on_request(said: str) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
    assert coloured.search(said)
    plain = on_terminal(NO_COLOR="1")
    assert not coloured.search(plain)
    assert "━" in plain


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "latin-1"}], ids=str)
def test_a_terminal_that_cannot_draw_gets_lines(environment: dict[str, str]) -> None:
    said = on_terminal("lines", **environment)
    assert "\x1b" not in said
    assert "q/softmax trial 0: complete at iteration 40  loss 3.2500  [1/4]\n" in said


def test_a_fault_leaves_a_clean_terminal_too() -> None:
    said = on_terminal("fail")
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")
    assert CONTROL.sub("", said[said.rindex("\x1b[2K") :]).strip("\r\n").splitlines() == [
        "worker 0 died",
        "something went wrong",
    ]


# ---- without a terminal ----------------------------------------------------------------------------------------------


def test_without_a_terminal_a_line_a_trial(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = [0.0]
    progress = Progress({"q/softmax": Candidate(8), "q/polymax": Candidate(8)}, now=lambda: seconds[0])
    events = (
        Started(0, "q/softmax", 0, 40),
        Started(0, "q/softmax", 1, 40),
        Reported(0, "q/softmax", 0, 20, 3.5),
        Note(0, "a worker died"),
        Finished(0, "q/softmax", 0, 40, "complete", 3.0),
    )
    with shown(progress) as view:
        for event in events:
            seconds[0] += STATUS / 4
            view(event)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "0/16 trials  2 running  0:30 elapsed  about 12 min left  1 member-steps/s",
        "q/softmax trial 0: complete at iteration 40  loss 3.0000  [1/16]",
        "1/16 trials: 1 complete  0:38 elapsed  1 member-steps/s",
    ]
    assert err == "a worker died\n"


def test_a_run_with_nothing_to_do_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Progress({"q/softmax": Candidate(8)})):
        pass
    assert capsys.readouterr() == ("", "")


def test_forced_colours_do_not_make_a_file_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with shown(Progress({"q/softmax": Candidate(8)})) as view:
        view(Finished(0, "q/softmax", 0, 40, "complete", 3.0))
    assert "\x1b" not in capsys.readouterr().out


def test_lines_fit_a_narrow_place(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    study = "a_question.confirmed/constantmax"
    progress = Progress({study: Candidate(30)})
    with shown(progress) as take:
        take(Started(0, study, 12, 40))
        take(Finished(0, study, 12, 40, "complete", 3.25))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) < 70
    assert f"{study} trial 12: complete at iteration 40 loss 3.2500 [1/30] 1/30 trials: " in " ".join(said.split())
