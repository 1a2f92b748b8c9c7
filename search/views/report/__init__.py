"""A report of a question: one HTML file that works offline, with a Markdown and a CSV twin."""

from __future__ import annotations

from pathlib import Path

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import inside
from tunemax.search.results.findings import gather
from tunemax.search.storage.paths import REPORTS, report_folder
from tunemax.search.storage.questions import Question
from tunemax.search.views import tables
from tunemax.search.views.report.contents import sections
from tunemax.search.views.writers import csv, html, markdown


def write(question: Question, folder: Path | None = None) -> list[Path]:
    """Write report.html, report.md and report.csv, each whole or not at all; gives their paths.

    folder: default `report/` beside the question's runs. Raises TunemaxError if it cannot be written.
    """
    folder = folder or report_folder(question.storage.url, question.name)
    findings = gather(question)
    title, parts = question.definition.question, sections(findings)
    texts = (
        html.render(title, parts),
        markdown.render(title, parts),
        csv.render(tables.figures(findings.board, findings.confirmations)),
    )
    paths = [inside(folder, name) for name in REPORTS]
    for path, text in zip(paths, texts, strict=True):
        try:
            write_whole(path, text.encode())
        except OSError as error:
            remedy = "mend its rights, or name another folder with --out"
            raise TunemaxError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error
    return paths
