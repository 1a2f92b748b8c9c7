"""What a whole run of a question says on the screen: what is known before the training, then the training itself."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from tunemax.search.machine.processes import WorkerSettings
from tunemax.search.question.counting import counted
from tunemax.search.results.confirmation import confirmation
from tunemax.search.results.forecast import expected
from tunemax.search.results.seeds import too_few
from tunemax.search.storage.fresh_seeds import seeds_of
from tunemax.search.storage.questions import Question
from tunemax.search.views.live.progress import Progress
from tunemax.search.views.live.view import shown
from tunemax.search.views.writers.terminal import hanging
from tunemax.search.workers.events import Event


@contextlib.contextmanager
def on_screen(question: Question, progress: Progress, settings: WorkerSettings) -> Iterator[Callable[[Event], None]]:
    """What is known before the training, then its picture, or lines where there is no terminal."""
    definition = question.definition
    for line in (*question.astray, *settings.lines):
        print(hanging("", line), file=sys.stderr)
    asked, few, runs = definition.question, None, None
    if confirms := definition.confirms:
        seeds = seeds_of(definition)
        asked = f"Confirming {confirms.question} on fresh seeds {seeds[0]} to {seeds[-1]}"
        asked += _open(question) if confirms.runs else ""
        few = too_few(len(seeds), confirms.first_planned(len(seeds)), confirms.family)
        runs = expected(question)
    done = f"{progress.done} of {counted(progress.total, 'trial')} done, {definition.budget.words} each"
    lines = filter(None, [asked, f"{question.name}: {done}", few, runs])
    print("\n".join(hanging("", line) for line in lines), flush=True)
    with shown(progress) as view:
        yield view


def _open(question: Question) -> str:
    """What this round is for, of a confirmation whose runs are counted."""
    found = confirmation(question)
    count, most = len(found.entries) - 1, f"at most {found.budget} runs"
    if not found.settled:
        return f", {most}"
    open_ = ", ".join(entry.candidate for entry in found.open)
    return f", {most}; {len(found.settled)} of {count} comparisons settled" + (f", open: {open_}" if open_ else "")
