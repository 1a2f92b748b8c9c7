"""Tables and sentences fit a terminal of any width, and lose nothing."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.search.views.document import tabulated
from tunemax.search.views.writers.terminal import (
    aligned,
    annotated,
    command,
    hanging,
    listed,
    side_by_side,
    with_command,
    wrapped,
)

WORDS = st.text("abcdefgh", min_size=1, max_size=12)
TABLES = st.integers(2, 9).flatmap(
    lambda columns: st.tuples(
        st.lists(WORDS, min_size=columns, max_size=columns),
        st.lists(st.lists(WORDS, min_size=columns, max_size=columns), max_size=5),
    )
)


@given(TABLES, st.integers(41, 130))
def test_a_table_fits_and_keeps_every_cell(table: tuple[list[str], list[list[str]]], columns: int) -> None:
    heads, rows = table
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        lines = aligned(tabulated(heads, rows))
    assert max(map(len, lines)) < columns
    kept = " ".join(lines).split()
    for cell in [*heads[1:], *(cell for row in rows for cell in row)]:
        assert cell in kept


def test_without_a_terminal_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    heads = ["candidate", *(f"a column of figures {i}" for i in range(12))]
    assert len(aligned(tabulated(heads, [heads, heads]))) == 3


@given(st.lists(st.tuples(WORDS, st.lists(WORDS, max_size=20).map(" ".join)), min_size=1, max_size=5))
def test_a_note_stands_beside_its_row_or_below_with_its_name(rows: list[tuple[str, str]]) -> None:
    table, notes = tabulated(("name", "figure"), [(name, "1.0") for name, _ in rows]), [note for _, note in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "60")
        lines = annotated(table, "settings", notes)
    assert max(map(len, lines)) < 60
    together = re.sub(r"\s+", " ", " ".join(lines))
    for name, note in rows:
        assert f"{name} 1.0 {note}".strip() in together or f"- {name}: {note}".strip() in together


@given(st.lists(WORDS, min_size=1, max_size=40).map(" ".join), st.integers(50, 200))
def test_words_are_not_broken(sentence: str, columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        for write in (wrapped, listed):
            lines = write(sentence)
            assert max(map(len, lines)) < columns
            assert " ".join(lines).removeprefix("- ").split() == sentence.split()


@given(st.lists(WORDS, min_size=1, max_size=40), st.integers(50, 200))
def test_parts_stay_whole_and_in_order(parts: list[str], columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        lines = side_by_side(*parts).splitlines()
    assert max(map(len, lines)) < columns
    assert " ".join(lines).split() == parts


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=40), st.integers(50, 200))
def test_a_command_is_read_by_a_shell_as_it_was(words: list[str], columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        text = command(words)
    assert shlex.split(text.replace(" \\\n", " ")) == words


NAMED = [
    "tunemax study confirm q --top 1 --seeds 40 --longer 4 --storage 'my folder/studies of mine.db'",
    "tunemax rl tune --env Constantmax-v1 --policy constant,spline --member-steps 5000 --set n_layer=1 --set n_embd=16",
    "optuna delete-study --storage sqlite:///studies.db --study-name 'q of mine'",
    "tunemax study run q.yaml",
]


@given(
    st.lists(WORDS, max_size=20).map(" ".join),
    st.sampled_from(NAMED),
    st.sampled_from(["", ".", ", its study file", "; more of it", " (with TUNEMAX_STORAGE set)"]),
    st.integers(50, 150),
)
def test_a_command_in_a_sentence_can_be_copied(text: str, named: str, behind: str, columns: int) -> None:
    sentence = f"it's {text} with {named}{behind}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        for lines in (wrapped(sentence), listed(sentence), hanging("q: ", sentence).splitlines()):
            assert max(map(len, lines)) < columns
            assert named in re.sub(r" \\\n +", " ", "\n".join(lines)), (
                "a shell goes on behind that mark, and nowhere else"
            )


def test_a_command_that_does_not_fit_stands_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert with_command("Go on with", "tunemax study run q") == "Go on with tunemax study run q"
    assert with_command("The time is spent. Go on with", "tunemax study run my_question.yaml") == (
        "The time is spent. Go on with\n  tunemax study run my_question.yaml"
    )
