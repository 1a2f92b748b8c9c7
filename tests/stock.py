"""The stock `optuna` command as somebody types it, but in this process: to start one takes longer than most tests."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from unittest.mock import patch

import optuna
from optuna import cli
from optuna.exceptions import ExperimentalWarning


def says(where: str, *words: str) -> str:
    """What a command prints that is given the database at a path.

    Raises AssertionError, with what it complains of, if it fails.
    """
    root = logging.getLogger()
    before = root.level, list(root.handlers), optuna.logging.get_verbosity()
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # all of its commands are
            given = ["optuna", words[0], "--storage", f"sqlite:///{where}", *words[1:]]
            with patch.object(sys, "argv", given):
                status = cli.main()
    finally:  # it sets loggers up for a process of its own
        root.level, root.handlers = before[0], before[1]
        optuna.logging.set_verbosity(before[2])
    assert status == 0, err.getvalue()
    return out.getvalue()
