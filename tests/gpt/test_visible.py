"""Text that could steer a terminal, or hide other text, is written out."""

from __future__ import annotations

import io
import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.visible import Screen, screened, steering, visible

ALL = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xD800)]
STEERING = [mark for mark in ALL if mark not in "\n\t"]


@pytest.mark.parametrize("mark", STEERING, ids=ascii)
def test_what_steers_is_written_out_as_json_has_it(mark: str) -> None:
    shown = visible(f"a{mark}b")
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == f"a{mark}b"
    assert steering(f"a{mark}b") == shown[1:-1]


@given(st.text())
def test_nothing_that_steers_is_left_and_all_else_stays(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(mark) for mark in shown if mark not in "\n\t"} & {"Cc", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown
    assert (steering(text) is None) == (shown == text)
    shown.encode()


def test_whoever_prints_in_a_command_is_heard_so(capsys: pytest.CaptureFixture[str]) -> None:
    with screened():
        print("out\x1b[2J", end="\n")
        print("error\u202e", file=sys.stderr)
        sys.stdout.writelines(["\x07", "\tüñ\n"])
        assert not sys.stdout.isatty()
    print("\x1b[1m")
    assert capsys.readouterr() == ("out\\u001b[2J\n\\u0007\tüñ\n\x1b[1m\n", "error\\u202e\n")


def test_a_screen_is_otherwise_the_stream_behind_it() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    screen = Screen(stream)
    assert (screen.encoding, screen.fileno, screen.buffer) == ("latin-1", stream.fileno, stream.buffer)
    assert screen.write("a\x9b") == 2
    screen.flush()
    assert stream.buffer.getvalue() == b"a\\u009b"  # type: ignore[attr-defined]
