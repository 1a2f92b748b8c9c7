"""A stop in the middle of what takes long."""

from __future__ import annotations

import sys
import time

import pytest

from tunemax.gpt import interrupt
from tunemax.gpt.interrupt import Stopped, stopped_by


class Slow:
    """Python drops what is raised while it is destroyed."""

    def __del__(self) -> None:
        time.sleep(0.3)


def test_a_stop_that_a_destructor_swallows_comes_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupt, "LOOKS", 0.1)
    monkeypatch.setattr(interrupt, "AGAIN", 0.4)
    asked, begin = [], time.monotonic()

    def stop() -> bool:
        asked.append(time.monotonic() - begin)
        return True

    def work() -> None:
        Slow()
        time.sleep(60)

    with pytest.raises(Stopped), stopped_by(stop):
        work()
    assert len(asked) == 2, "the first one was lost"
    assert "Stopped" not in capsys.readouterr().err


def test_what_a_destructor_complains_of_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(str(what.exc_value)))

    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    with stopped_by(lambda: False):
        Broken()
    assert told == ["broken"]
