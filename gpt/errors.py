"""The one error type that users see, and the words in which it helps them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TunemaxError(Exception):
    """Something a user can mend. The message is one line: the value, what was expected, what to do.

    The command line prints it alone and exits with status 2; a traceback needs ``--debug``.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean `softermax`?"`` for a near miss, else the list of what is known."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known: {', '.join(options)}" if len(options) <= 40 else ""
