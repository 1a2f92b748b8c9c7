"""A report of a question: one HTML file that works offline, with a Markdown and a CSV twin."""

from __future__ import annotations

from pathlib import Path

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.search.storage.paths import runs_folder
from tunemax.search.storage.questions import Question
from tunemax.search.views.report.contents import read, sections, table_csv
from tunemax.search.views.report.html import render as render_html
from tunemax.search.views.report.markdown import render as render_markdown


def write(question: Question, folder: Path | None = None) -> list[Path]:
    """Write report.html, report.md and report.csv, each whole or not at all; gives their paths.

    folder: default `report/` beside the question's runs. Raises TunemaxError if it cannot be written.
    """
    folder = folder or runs_folder(question.storage.url) / question.name / "report"
    found = read(question)
    parts = sections(found)
    texts = {
        "report.html": render_html(found.title, parts),
        "report.md": render_markdown(found.title, parts),
        "report.csv": table_csv(found),
    }
    paths = []
    for name, text in texts.items():
        try:
            write_whole(folder / name, text.encode())
        except OSError as error:
            remedy = "mend its rights, or name another folder with --out"
            raise TunemaxError(f"{folder / name}: cannot be written ({error.strerror}); {remedy}") from error
        paths.append(folder / name)
    return paths
