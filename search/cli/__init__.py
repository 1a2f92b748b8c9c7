"""How it is called: ``tunemax COMMAND …``, a module each.

`main` is where Ctrl-C becomes a line for the user; nothing is imported before it listens. `command_line` is where an
error does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns the exit status: 0, 2 for what the user can mend, 130 after Ctrl-C or SIGTERM, 141 for a closed pipe.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        from tunemax.search.cli.interrupts import listening

        with listening(for_good=argv is None, say=lambda fate: _say(fate, given)):
            try:
                from tunemax.search.cli.command_line import carry_out

                return carry_out(given, alone=argv is None)
            except KeyboardInterrupt as interrupt:
                return _interrupted(interrupt, given)
    except KeyboardInterrupt as interrupt:  # in the first milliseconds
        return _interrupted(interrupt, given)


def _interrupted(interrupt: KeyboardInterrupt, given: Sequence[str]) -> int:
    """Say what is kept, and how to go on: the command knows, or has not come far enough to have anything to lose."""
    if interrupt.args:
        _print(f"interrupted; {interrupt}", given)
    else:
        _say("interrupted; nothing is lost", given)
    return 130


def _say(fate: str, given: Sequence[str]) -> None:
    from tunemax.search.cli.interrupts import way_on
    from tunemax.search.storage.secrets import typed_again

    _print(f"{fate}; {way_on() or f'go on with {typed_again(given)}'}" if given else fate, given)


def _print(line: str, given: Sequence[str]) -> None:
    from tunemax.gpt.visible import visible
    from tunemax.search.storage.secrets import redacted

    print(f"tunemax: {visible(redacted(line, given))}", file=sys.stderr, flush=True)
