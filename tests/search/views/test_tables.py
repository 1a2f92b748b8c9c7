"""Four ways to write a table, and what tables say where something is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tunemax.search.results.confirmation import Confirmation, Confirmed
from tunemax.search.results.leaderboard import Entry, Leaderboard
from tunemax.search.results.statistics import estimate
from tunemax.search.views import tables
from tunemax.search.views.document import Column, Section, Table
from tunemax.search.views.writers import csv, html, markdown
from tunemax.search.views.writers.terminal import aligned

LOSSES: Mapping[str, float | None] = {"a": 2.0, "=1|b": -math.pi, "none": None}
TABLE = Table(
    (
        Column[str]("candidate", str, words=True),
        Column[str]("loss", lambda name: LOSSES[name], "{:.2f}".format, "final_loss"),
        Column[str]("verdict", lambda name: "worse" if name == "a" else None, words=True, none=""),
    ),
    tuple(LOSSES),
)


def test_a_terminal_has_names_to_the_left_and_the_rest_to_the_right() -> None:
    assert aligned(TABLE) == ["       loss  verdict", "a      2.00    worse", "=1|b  -3.14", "none      –"]


def test_markdown_has_words_to_the_left_and_no_markup_of_others() -> None:
    text = markdown.render("A title", [Section("Losses", tables=(TABLE,))])
    assert "| candidate | loss | verdict |\n|---|--:|---|\n| a | 2.00 | worse |\n" in text
    assert "| =1\\|b | -3.14 |  |\n| none | – |  |\n" in text


def test_html_marks_words() -> None:
    page = html.render("A title", [Section("Losses", tables=(TABLE,))])
    assert '<tr><th>candidate</th><th>loss</th><th class="words">verdict</th></tr>' in page
    assert '<tr><td>none</td><td>–</td><td class="words"></td></tr>' in page


def test_csv_is_exact_and_no_formula() -> None:
    lines = csv.render(TABLE).splitlines()
    assert lines == ["candidate,final_loss,verdict", "a,2.0,worse", f"'=1|b,{-math.pi!r},", "none,,"]


def confirmed(candidate: str, *losses: float) -> Confirmed:
    return Confirmed(
        candidate=candidate,
        study=f"q.confirmed/{candidate}",
        source=f"q/{candidate}",
        trial=0,
        config={},
        losses=dict(enumerate(losses)),
        diverged=(),
        waiting=0,
        trials=(),
        estimate=estimate(losses),
        versus=None,
    )


def test_only_the_reference_is_called_so() -> None:
    """Also while it waits for its seeds, and others have theirs."""
    entries = (confirmed("polymax", 2.0, 2.1, 2.2), confirmed("softmax"))
    confirmation = Confirmation("q.confirmed", "q", 20, 1, 3, "softmax", "text", entries, "sqlite:///q.db", planned=3)
    counts = dict.fromkeys(("complete", "pruned", "diverged", "duplicate", "failed", "cancelled", "running"), 0)
    entry = Entry("softmax", "q/softmax", None, None, None, **counts, waiting=1, member_steps=0, tokens=0)
    others = (replace(entry, name=name, study=f"q/{name}") for name in ("polymax", "sigsoftmax"))
    board = Leaderboard("Which?", "q", (entry, *others), None)
    for table in (tables.confirmed_with_seeds(confirmation), tables.confirmed_with_effects(confirmation)):
        assert [row[3] for row in table.rows] == ["–", "reference"]
    beside = tables.confirmed_beside_tuned(board, confirmation)
    assert [(row[0], row[3]) for row in beside.rows] == [
        ("polymax", "–"),
        ("softmax", "reference"),
        ("sigsoftmax", "–"),
    ]
