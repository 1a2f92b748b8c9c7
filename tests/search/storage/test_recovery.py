"""Whose worker is gone, by the mark that it has left on its trial."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from tunemax.search.storage.questions import Question
from tunemax.search.storage.queue import claim
from tunemax.search.storage.recovery import mark, reap


def states(question: Question) -> list[TrialState]:
    return [trial.state for trial in question.trials()["q/softmax"]]


@pytest.mark.parametrize(
    ("later", "dead"), [(0, False), (3, False), (1000, True)], ids=["this one", "a clock that moved", "another one"]
)
def test_a_later_process_with_the_number_of_a_dead_worker_is_not_taken_for_it(
    ask: Callable[..., Question], later: float, dead: bool
) -> None:
    question = ask(compare=["softmax"], budget={"trials": 1})
    began = psutil.Process().create_time() - later
    owner = f"{socket.gethostname()}:{os.getpid()}:{began:.0f}"
    assert claim("q/softmax", question.storage, optuna.samplers.RandomSampler(seed=1), mark=owner)
    assert reap(question.storage, question.siblings) == int(dead)
    assert states(question) == [TrialState.WAITING if dead else TrialState.RUNNING]


def test_a_mark_is_that_of_this_process() -> None:
    host, number, began = mark().rsplit(":", 2)
    assert (host, int(number)) == (socket.gethostname(), os.getpid())
    assert float(began) == pytest.approx(psutil.Process().create_time(), abs=1)
