"""Four ways to write a table, and what tables say where something is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from csv import DictReader
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunemax.search.charts.pictures import learning_curves
from tunemax.search.question.stages import Frozen
from tunemax.search.results.comparison import Runs, compare
from tunemax.search.results.confirmation import Confirmation, confirmed, ranked
from tunemax.search.results.leaderboard import Entry, Leaderboard
from tunemax.search.views import rounding, tables
from tunemax.search.views.document import Column, Section, Table
from tunemax.search.views.writers import csv, html, markdown
from tunemax.search.views.writers.terminal import aligned, wrapped

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


def test_prose_is_as_wide_as_the_terminal_and_never_wider_than_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, widest in (("80", 79), ("20", 40), ("400", 118)):
        monkeypatch.setenv("COLUMNS", columns)
        lines = wrapped("so many words that " * 30)
        assert widest - 10 < max(map(len, lines)) <= widest


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


def confirmation_of(**runs: Runs) -> Confirmation:
    """A confirmation beside softmax. Seed → loss; inf: diverged, None: still to come."""
    versus = {each.name: each for each in compare(runs, "softmax", planned=12)}
    entries = [
        confirmed(
            Frozen(study=f"q/{name}", trial=0, fields={}),
            f"q.confirmed/{name}",
            own,
            (),
            versus.get(name),
            runs["softmax"],
        )
        for name, own in runs.items()
    ]
    found = ranked(entries, "softmax")
    return Confirmation("q.confirmed", "q", 20, 1, 12, "softmax", "text", found, "sqlite:///q.db", planned=12)


def board_of(*names: str) -> Leaderboard:
    counts = dict.fromkeys(("complete", "pruned", "diverged", "duplicate", "failed", "cancelled", "running"), 0)
    entry = Entry("", "", None, None, **counts, waiting=1, member_steps=0, tokens=0)
    return Leaderboard("Which?", "q", tuple(replace(entry, name=name, study=f"q/{name}") for name in names))


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (999, "999"), (1280, "1.28k"), (999_499, "999k"), (999_700, "1M"), (2_000_000, "2M"), (3.4e12, "3.4T")],
)
def test_tokens_and_operations_have_three_digits(value: float, told: str) -> None:
    assert rounding.many(value) == told


def test_failed_trials_are_counted_wherever_there_are_any() -> None:
    """On a terminal, in a report and in its CSV file; the note has the same column."""
    board = board_of("softmax", "polymax")
    shown = (tables.ranking, tables.winners, lambda board: tables.figures(board, []))
    assert all("failed" not in table(board).heads for table in shown)
    some = replace(board, entries=(replace(board.entries[0], failed=3), board.entries[1]))
    for table in shown:
        place = table(some).heads.index("failed")
        assert [row[place] for row in table(some).rows] == ["3", "0"]


def test_where_nothing_is_compared_no_comparison_is_told() -> None:
    runs: Runs = {1: 2.0, 2: 2.1, 3: math.inf}
    confirmation = confirmation_of(softmax=runs)
    told = (
        tables.confirmed_with_seeds(confirmation),
        tables.confirmed_with_effects(confirmation),
        tables.confirmed_beside_tuned(board_of("softmax"), confirmation),
    )
    for table in told:
        assert {"p", "verdict", "", "to softmax", "to softmax, 95 %", "P(better)"}.isdisjoint(table.heads)
        assert "reference" not in table.rows[0]
        assert table.rows[0][-1] == "1 of 3"
    assert not any(word in tables.explained(confirmation) for word in ("ifference", " p ", "other"))
    both = confirmation_of(softmax=runs, polymax=runs)
    assert tables.explained(both) == tables.TYPICAL
    assert "p" in tables.confirmed_with_seeds(both).heads


def test_csv_has_the_p_of_an_equal_too() -> None:
    runs: Runs = {seed: 2.0 + 0.01 * (seed % 5) for seed in range(1, 13)}
    other = {seed: (loss or 0) + 1e-6 * seed * (-1) ** seed for seed, loss in runs.items()}
    confirmation = confirmation_of(softmax=runs, polymax=other)
    (row,) = DictReader(csv.render(tables.figures(board_of("polymax"), [confirmation])).splitlines())
    assert row["confirmed_1x_verdict"] == "equal"
    assert float(row["confirmed_1x_p_equal"]) < 0.05


def test_markdown_has_no_heading_without_words() -> None:
    """Figures are in the HTML."""
    sections = [Section("Curves", figures=(learning_curves("Which?", []),)), Section("Tuned", tables=(TABLE,))]
    assert markdown.render("Which?", sections).count("## ") == 1
    assert "## Tuned" in markdown.render("Which?", sections)


def test_only_the_reference_is_called_so() -> None:
    """Also while it waits for its seeds, and others have theirs."""
    waiting: Runs = {1: None, 2: None, 3: None}
    confirmation = confirmation_of(polymax={1: 2.0, 2: 2.1, 3: 2.2}, softmax=waiting)
    for table in (tables.confirmed_with_seeds(confirmation), tables.confirmed_with_effects(confirmation)):
        place = table.heads.index("to softmax")
        assert {row[0]: row[place] for row in table.rows} == {"polymax": "–", "softmax": "reference"}
    beside = tables.confirmed_beside_tuned(board_of("softmax", "polymax", "sigsoftmax"), confirmation)
    assert {row[0]: row[3] for row in beside.rows} == {"polymax": "–", "softmax": "reference", "sigsoftmax": "–"}


ENDS = st.one_of(st.floats(1.5, 3.0), st.just(math.inf), st.none())
SIDE = st.dictionaries(st.integers(1001, 1012), ENDS, min_size=3)


@given(SIDE, SIDE, SIDE)
@settings(max_examples=40, deadline=None)
def test_the_losses_of_a_row_are_of_the_seeds_of_its_difference(softmax: Runs, polymax: Runs, softermax: Runs) -> None:
    """Whatever diverged, failed or is still to come on either side."""
    confirmation = confirmation_of(softmax=softmax, polymax=polymax, softermax=softermax)
    read = list(DictReader(csv.render(tables.figures(board_of("polymax", "softermax"), [confirmation])).splitlines()))
    for row, name, own in zip(read, ("polymax", "softermax"), (polymax, softermax), strict=True):
        entry = confirmation.entry(name)
        assert entry
        versus = entry.versus
        if versus is None or versus.difference is None:
            continue
        both = [seed for seed in versus.seeds if math.isfinite(own[seed] or 0) and math.isfinite(softmax[seed] or 0)]
        assert float(row["confirmed_1x_mean"]) == pytest.approx(np.mean([own[seed] for seed in both]))
        assert float(row["confirmed_1x_reference_mean"]) == pytest.approx(np.mean([softmax[seed] for seed in both]))
        apart = float(row["confirmed_1x_mean"]) - float(row["confirmed_1x_reference_mean"])
        assert float(row["confirmed_1x_difference"]) == pytest.approx(apart, abs=1e-9)
        assert int(row["confirmed_1x_seeds"]) == versus.n
        assert int(row["confirmed_1x_diverged"]) == sum(loss == math.inf for loss in own.values())
        (told,) = (each for each in confirmation.to_json()["entries"] if each["candidate"] == name)
        assert told["estimate"]["mean"] - told["beside"]["mean"] == pytest.approx(apart, abs=1e-9)


def test_what_diverged_stands_beside_the_losses() -> None:
    """A run that is lost has no part in a mean, and the reference is shown on the seeds that are left."""
    softmax: Runs = {seed: 2.0 + 0.01 * (seed % 5) for seed in range(1, 13)}
    polymax = {**{seed: loss for seed, loss in softmax.items() if loss is not None}, 4: math.inf}
    confirmation = confirmation_of(softmax=softmax, polymax=polymax)
    table = tables.confirmed_with_seeds(confirmation)
    cells = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.rows}
    assert cells["polymax"]["diverged"] == "1 of 12"
    assert cells["softmax"]["diverged"] == ""
    assert cells["polymax"]["mean loss"] == cells["polymax"]["softmax on the same"] == "2.0173"
    assert cells["softmax"]["mean loss"] == "2.0192"
    assert cells["softmax"]["softmax on the same"] == ""
    for table in (
        tables.confirmed_with_effects(confirmation),
        tables.confirmed_beside_tuned(board_of("softmax", "polymax"), confirmation),
    ):
        assert "softmax on the same" in table.heads
        assert "1 of 12" in next(row for row in table.rows if row[0] == "polymax")
    whole = confirmation_of(softmax=softmax, polymax=softmax)
    assert "softmax on the same" not in tables.confirmed_with_effects(whole).heads
    assert "diverged" not in tables.confirmed_with_effects(whole).heads
