"""Draws live.svg: what `tunemax study run` shows, in the middle of a real, shortened run of
studies/softmax_variants.yaml.

.venv/bin/python docs/images/make_live.py
"""

from __future__ import annotations

import io
import re
import signal
import tempfile
from pathlib import Path

import yaml
from rich.console import Console

from tunemax.gpt.data import open_data
from tunemax.search.machine.plan import plan
from tunemax.search.question.study_file import load_study_file
from tunemax.search.storage.questions import create
from tunemax.search.views.live.picture import picture
from tunemax.search.views.live.progress import Progress
from tunemax.search.workers import supervisor
from tunemax.search.workers.events import Event

STUDY = "studies/softmax_variants.yaml"
IMAGE = Path(__file__).with_name("live.svg")
WIDTH, HEIGHT = 104, 34
FIRST, LAST = 0.4, 0.7
"""The picture is taken when the share of trials that have ended is between these."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = yaml.safe_load(Path(STUDY).read_text())
        plain["base"] |= {"eval_interval": 50, "eval_iters": 40}
        plain["budget"] = {"trials": 12, "horizon": 600}
        short = Path(folder) / Path(STUDY).name
        short.write_text(yaml.safe_dump(plain, sort_keys=False))
        definition = load_study_file(short)
        question = create(Path(folder) / "studies.db", definition, open_data(definition.data))
        progress = Progress.of(question)
        curves, image = 0, ""

        def report(event: Event) -> None:
            """Keep the picture with the longest curves; after the last moment stop, as Ctrl-C does."""
            nonlocal curves, image
            progress.take(event)
            share = progress.done / progress.total
            running = [len(slot.losses) for slot in progress.slots if slot.end is None]
            if FIRST <= share <= LAST and len(running) == len(progress.slots) and sum(running) > curves:
                curves, image = sum(running), draw(progress)
            if share > LAST:
                signal.raise_signal(signal.SIGINT)

        where = str(Path(folder) / "studies.db")
        supervisor.run(where, definition.name, plan(definition, progress.total), seconds=None, report=report)
    IMAGE.write_text(image)


def draw(progress: Progress) -> str:
    """The picture as SVG, with the viewer's own monospaced font: a document loads nothing from elsewhere."""
    console = Console(width=WIDTH, record=True, force_terminal=True, color_system="truecolor", file=io.StringIO())
    for line in picture(progress, WIDTH, HEIGHT):
        console.print(line, soft_wrap=True)
    svg = console.export_svg(title=f"tunemax study run {STUDY}", unique_id="live")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
