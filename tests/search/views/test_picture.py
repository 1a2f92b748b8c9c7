"""The live picture and the words in it: everything that is promised, in its place, within the terminal."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunemax.gpt.visible import visible
from tunemax.search.results.durations import about
from tunemax.search.views.live.picture import picture
from tunemax.search.views.live.progress import Candidate, Progress
from tunemax.search.views.words import LEVELS, clock, line, number, plain, sparkline, status, summary
from tunemax.search.workers.events import Finished, Gone, Note, Reported, Started

VARIANTS = ["softmax", "constantmax", "polymax", "strongermax", "softermax", "sigsoftmax", "sigsoftmax_base2"]


def busy(names: list[str] = VARIANTS, slots: int = 16, trials: int = 16, horizon: int = 2000) -> Progress:
    """A run of two workers in the middle: each slot's first trial has ended in one of four ways, the second runs."""
    seconds = [0.0]
    progress = Progress({f"q/{name}": Candidate(trials) for name in names}, now=lambda: seconds[0])
    studies = [f"q/{names[slot % len(names)]}" for slot in range(slots)]
    ends = ["complete", "pruned", "diverged", "complete"]
    for slot, study in enumerate(studies):
        seconds[0] += 1
        progress.take(Started(slot % 2, study, slot, horizon))
    for slot, study in enumerate(studies):
        seconds[0] += 1
        end = ends[slot % 4]
        progress.take(
            Finished(
                slot % 2, study, slot, horizon if end == "complete" else horizon // 2, end, 3.0 - slot / 100, "a reason"
            )
        )
        progress.take(Started(slot % 2, study, slots + slot, horizon))
    for part in range(1, 5):
        for slot, study in enumerate(studies):
            progress.take(Reported(slot % 2, study, slots + slot, part * horizon // 8, 4.0 - part / 10 - slot / 100))
        seconds[0] += 5
    return progress


def drawn(progress: Progress, width: int, height: int) -> list[str]:
    return [text.plain for text in picture(progress, width, height)]


def test_what_would_steer_the_terminal_is_written_out() -> None:
    progress = busy(["evil\x1b[2J"])
    progress.take(Note(0, "of a file \x1b]0;owned\x07\u202e"))
    lines = drawn(progress, 100, 30)
    assert visible("".join(lines)) == "".join(lines)
    assert any(r"of a file \u001b]0;owned" in line for line in lines)


# ---- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height"), [(80, 23), (120, 39), (100, 30), (200, 60), (60, 15), (30, 8), (10, 3), (80, 1)]
)
@pytest.mark.parametrize("slots", [0, 1, 16, 100])
@pytest.mark.parametrize(
    "names", [VARIANTS, ["only"], [f"a_rather_long_candidate_{index}" for index in range(40)]], ids=len
)
def test_the_picture_fits(width: int, height: int, slots: int, names: list[str]) -> None:
    texts = picture(busy(names, slots, trials=1000, horizon=100_000_000), width, height)
    assert 0 < len(texts) <= height
    assert max(text.cell_len for text in texts) <= width
    assert not any("\n" in text.plain for text in texts)


@pytest.mark.parametrize(("width", "height"), [(80, 23), (120, 39)])
def test_columns_stay_where_they_are_while_numbers_grow(width: int, height: int) -> None:
    early, late = busy(trials=40), busy(trials=40)
    for candidate in late.candidates.values():
        candidate.best = (0.0001, 9)
        candidate.ended |= dict.fromkeys(range(32), ("duplicate", 0))
    heads = [
        [text for text in drawn(progress, width, height) if text.startswith(("candidate", "worker"))]
        for progress in (early, late)
    ]
    assert len(heads[0]) == 2
    assert heads[0] == heads[1]
    assert len(drawn(early, width, height)) == len(drawn(late, width, height))


# ---- what is in it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(80, 23), (120, 39)])
def test_everything_is_shown(width: int, height: int) -> None:
    progress = busy()
    lines = drawn(progress, width, height)
    assert lines[0].startswith(" 16/112 trials")
    assert "about " in lines[0]
    assert f"{clock(progress.elapsed)} elapsed" in lines[0]
    assert lines[0].endswith(f" {progress.rate:,.0f} member-steps/s")
    rows = {row.split()[0]: row for row in lines if row.split()[:1] and row.split()[0] in VARIANTS}
    assert list(rows) == VARIANTS
    assert rows["softmax"].split()[2:7] == ["3/16", "2", "·", "1", "·"], "done, complete, pruned, diverged, duplicate"
    assert rows["softmax"].split()[7] == "2.9300"
    slot = next(row for row in lines if row.split()[:3] == ["0", "softmax", "#16"])
    assert slot.split()[4:7] == ["1000/2000", "3.6000", "▇▅▃▁"]
    assert slot.split()[3].startswith("━━━━━")
    assert "best of sigsoftmax so far" not in lines[-1]
    assert any(row.split()[1:4] == ["constantmax", "#15", "complete"] for row in lines[-2:]) is (
        VARIANTS[15 % 7] == "constantmax"
    )


def test_slots_that_do_not_fit_are_counted_and_every_worker_has_its_share() -> None:
    lines = drawn(busy(), 80, 23)
    slots = [row.split() for row in lines if row.startswith(("     0", "     1"))]
    (more,) = [row for row in lines if row.endswith("more")]
    assert more == f"+{16 - len(slots)} more"
    assert len(lines) == 23, "no row is wasted"
    assert abs(sum(row[0] == "0" for row in slots) - sum(row[0] == "1" for row in slots)) <= 1
    assert not [row for row in drawn(busy(), 120, 39) if row.endswith("more")]


def test_a_slot_whose_trial_has_ended_says_how_and_makes_room_first() -> None:
    progress = busy(slots=16)
    progress.take(Finished(0, "q/softmax", 16, 2000, "complete", 2.5))
    wide = next(row for row in drawn(progress, 120, 39) if row.split()[:3] == ["0", "softmax", "#16"])
    assert wide.split()[3:6] == ["complete", "2000/2000", "2.5000"]
    assert not [row for row in drawn(progress, 80, 23) if row.split()[:3] == ["0", "softmax", "#16"]]
    progress.take(Gone(1))
    assert sum(row.split()[3:4] == ["lost"] for row in drawn(progress, 120, 39)) == 8


def test_what_has_happened_is_below_with_notes() -> None:
    progress = busy()
    progress.take(Note(1, "worker 1 died (killed by SIGKILL); started again"))
    progress.take(Finished(0, "q/softmax", 30, 120, "diverged", 6.5, "diverged: training loss is nan"))
    *_, note, last = drawn(progress, 80, 23)
    assert note.endswith("worker 1 died (killed by SIGKILL); started again")
    assert last.split() == [
        clock(progress.elapsed),
        "softmax",
        "#30",
        "diverged",
        "at",
        "120",
        "training",
        "loss",
        "is",
        "nan",
    ]


def test_before_workers_have_started_the_budget_is_there() -> None:
    lines = drawn(Progress({"q/softmax": Candidate(8)}), 80, 23)
    assert lines[0].startswith("0/8 trials ")
    assert lines[-1] == "the workers start …"


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_is_as_long_as_what_it_shows(width: int) -> None:
    progress = Progress({"q/softmax": Candidate(8)})
    for trial in range(4):
        progress.take(Finished(0, "q/softmax", trial, 10, ["complete", "pruned", "diverged", "duplicate"][trial], 3.0))
    progress.take(Started(0, "q/softmax", 4, 40))
    progress.take(Started(0, "q/softmax", 5, 40))
    row = next(text for text in picture(progress, width, 23) if text.plain.startswith("softmax"))
    bar = row.plain.split()[1]
    assert bar == "".join(sorted(bar, key="━╍─".index))
    assert [bar.count(glyph) / len(bar) for glyph in "━╍─"] == pytest.approx([1 / 2, 1 / 4, 1 / 4], abs=1 / len(bar))
    colours = [str(span.style) for span in row.spans if row.plain[span.start] == "━"]
    assert colours == ["green", "yellow", "red", "cyan"]


# ---- words -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(), max_size=100), st.integers(1, 40))
def test_a_sparkline_follows_its_values(values: list[float], width: int) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) == min(len(values), width)
    finite = [value for value in values if math.isfinite(value)]
    assert set(drawn) <= set(LEVELS)
    if len(values) <= width and len(set(finite)) > 1 and math.isfinite(max(finite) - min(finite)):
        heights = [LEVELS.index(glyph) for value, glyph in zip(values, drawn, strict=True) if math.isfinite(value)]
        assert [low for _, low in sorted(zip(finite, heights, strict=True))] == sorted(heights), (
            "higher values are never drawn lower"
        )
        assert (min(heights), max(heights)) == (0, len(LEVELS) - 1)


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 8, ""),
        ([3.0], 8, "▄"),
        ([3.0, 3.0], 8, "▄▄"),
        ([7, 6, 5, 4, 3, 2, 1], 8, "▇▆▅▄▃▂▁"),
        ([1, 4, 2, 7], 2, "▁▇"),
        ([1.0, 2.0, math.nan], 8, "▁▇▇"),
        ([2.0, 1.0], 0, ""),
    ],
)
def test_sparklines(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn


def test_a_run_in_one_line() -> None:
    progress = busy()
    assert status(progress).startswith(f"16/112 trials  16 running  {clock(progress.elapsed)} elapsed  about ")
    assert status(progress).endswith(" member-steps/s")
    assert summary(progress).startswith(
        f"16/112 trials: 8 complete, 4 pruned, 4 diverged  {clock(progress.elapsed)} elapsed  "
    )
    assert summary(Progress({"q": Candidate(2)})) == "0/2 trials  0:00 elapsed"


def test_a_reason_is_told() -> None:
    finished = Finished(0, "q/softmax", 3, 0, "failed", None, "n_head = 5: does not divide")
    assert line(finished) == "q/softmax trial 3: failed at iteration 0  (n_head = 5: does not divide)"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.9, "1:00:00"), (3723, "1:02:03")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "5 s"), (5, "5 s"), (31, "35 s"), (89, "90 s"), (95, "2 min"), (3540, "59 min"), (3590, "1 h"), (7900,
    "2 h 10 min"),
     (86390, "1 d"), (100_000, "1 d 4 h")],
)  # fmt: skip
def test_a_time_that_is_not_known_to_the_second(seconds: float, text: str) -> None:
    assert about(seconds) == f"about {text}"


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (99_999, "99999"), (125_999, "125k"), (1_250_000, "1.25M")])
def test_iterations_in_few_characters(value: int, text: str) -> None:
    assert number(value) == text


def test_settings_in_a_line() -> None:
    assert (
        plain({"learning_rate": 0.0031234, "n_layer": 2, "bias": True}) == "learning_rate 0.00312, n_layer 2, bias True"
    )
