"""The picture of a run: lines of text that fit into a terminal, with columns that stay where they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from tunemax.gpt.visible import visible
from tunemax.search.results.durations import about
from tunemax.search.views.live.progress import ENDS, Candidate, Happening, Progress, Slot
from tunemax.search.views.words import clock, number, sparkline
from tunemax.search.workers.events import Note

STYLES = {
    "complete": "green",
    "pruned": "yellow",
    "diverged": "red",
    "duplicate": "cyan",
    "failed": "red",
    "dropped": "dim",
}
GAP = "  "
DONE, HALF, GOING, OPEN = "━", "╸", "╍", "─"
RECENT = (2, 6)
"""Rows for what has happened: at least, and where there is room."""


@dataclass(frozen=True)
class Column:
    """A column of fixed width."""

    title: str
    width: int
    right: bool = False


Cell = Text | str


def picture(progress: Progress, width: int, height: int) -> list[Text]:
    """The state of a run in at most `height` lines of at most `width` columns.

    From top to bottom: how far it is, a line a candidate, a line a slot, what has happened last. If not all slots fit,
    the first of each worker are shown.
    """
    roomy = height >= 30
    space = [Text()] if roomy else []
    candidates = _cut(_candidates(progress, width), max(4, height // 3 + 1), "candidates")
    head = [overall(progress, width), *space, *candidates, *([Text()] if height >= 20 else [])]
    room = height - len(head) - len(space)
    least, most = RECENT if height >= 20 else (1, 1)
    recent = max(least, min(most, room - 1 - len(progress.slots)))
    lines = [*head, *_slots(progress, width, room - recent), *space]
    names = _name_width(progress, width)
    lines += [_happening(happening, names) for happening in list(progress.recent)[-recent:]]
    lines = [text if visible(text.plain) == text.plain else Text(visible(text.plain)) for text in lines]
    for text in lines:
        text.no_wrap = True
        text.truncate(width, overflow="ellipsis")
    return lines[:height]


def overall(progress: Progress, width: int) -> Text:
    """The whole run in a line; the bar has what room there is."""
    left = "" if progress.eta is None else f"{about(progress.eta)} left"
    speed = f"{progress.rate:,.0f} member-steps/s" if progress.rate else ""
    total = str(progress.total)
    parts = [
        Text(f"{progress.done:>{len(total)}}/{total} trials", style="bold"),
        Text(left.ljust(20), style="bold"),
        Text(f"{clock(progress.elapsed)} elapsed"),
        Text(speed.rjust(21)),
    ]
    room = width - sum(part.cell_len + len(GAP) for part in parts)
    if room >= 10:
        parts.insert(1, _bar(progress.done, progress.total, room, "green"))
    return Text(GAP).join(parts)


def _candidates(progress: Progress, width: int) -> list[Text]:
    """A bar a candidate, coloured by how its trials have ended, with the counts and the best loss."""
    names = [_short(name) for name in progress.candidates]
    total = progress.counts()
    ends = [end for end in ENDS if end not in ("failed", "dropped") or total[end]]
    titles = ["dup" if end == "duplicate" and width < 100 else end for end in ends]
    most = len(str(max((candidate.total for candidate in progress.candidates.values()), default=0)))
    columns = [
        Column("candidate", _name_width(progress, width)),
        Column("", 0),
        Column("done", max(4, 2 * most + 1), right=True),
        *(Column(title, len(title), right=True) for title in titles),
        Column("best", 7, right=True),
    ]
    if width >= 100:
        columns.append(Column("trial", max(5, most + 1), right=True))
    room = width - sum(column.width for column in columns) - len(GAP) * (len(columns) - 1)
    columns[1] = Column("", max(0, min(room, 40)))
    lead = min((candidate.best for candidate in progress.candidates.values() if candidate.best), default=None)
    rows: list[list[Cell]] = []
    for name, candidate in zip(names, progress.candidates.values(), strict=True):
        counts = candidate.counts()
        style = "bold" if candidate.best and candidate.best == lead else ""
        best, trial = ("–", "") if candidate.best is None else (f"{candidate.best[0]:.4f}", f"#{candidate.best[1]}")
        rows.append([
            Text(name, style=style),
            _budget(candidate, columns[1].width),
            f"{candidate.done}/{candidate.total}",
            *(Text(str(counts[end]), style=STYLES[end]) if counts[end] else Text("·", style="dim") for end in ends),
            Text(best, style=f"{style} green" if candidate.best else "dim"),
            Text(trial, style="dim"),
        ])  # fmt: skip
    return _table(columns, rows)


def _slots(progress: Progress, width: int, height: int) -> list[Text]:
    """A line a slot, as many as fit into the height."""
    if not progress.slots:
        return [Text("the workers start …", style="dim")]
    fitting = height - 1 if len(progress.slots) < height else max(0, height - 2)
    chosen = _chosen(progress.slots, fitting)
    iterations = max(len(number(slot.horizon)) for slot in progress.slots)
    columns = [
        Column("worker", 6, right=True),
        Column("candidate", _name_width(progress, width)),
        Column("trial", max(5, *(len(str(slot.trial)) + 1 for slot in progress.slots)), right=True),
        Column("", 10 if width < 100 else 20),
        Column("iteration", max(9, 2 * iterations + 1), right=True),
        Column("loss", 7, right=True),
    ]
    room = width - sum(column.width for column in columns) - len(GAP) * len(columns)
    columns.append(Column("so far", max(0, min(room, 32))))
    lines = _table(columns, [_slot(slot, columns) for slot in chosen])
    if hidden := len(progress.slots) - len(chosen):
        lines.append(Text(f"+{hidden} more", style="dim"))
    return lines


def _slot(slot: Slot, columns: Sequence[Column]) -> list[Cell]:
    dim, losses = "dim" if slot.end else "", list(slot.losses.values())
    bar = _bar(slot.iteration, slot.horizon, columns[3].width, "blue")
    how = bar if slot.end is None else Text(slot.end, style=STYLES.get(slot.end, "dim"))
    return [
        Text(str(slot.worker), style="dim"),
        Text(_short(slot.study), style=dim),
        Text(f"#{slot.trial}", style=dim),
        how,
        Text(f"{number(slot.iteration)}/{number(slot.horizon)}", style=dim),
        Text(f"{losses[-1]:.4f}" if losses else "–", style=dim if losses else "dim"),
        Text(sparkline(losses, columns[-1].width), style=dim or "cyan"),
    ]


def _chosen(slots: Sequence[Slot], count: int) -> list[Slot]:
    """So many slots, fairly from all workers, those in use first, in an order that does not change."""
    place: dict[int, int] = {}
    ranked = []
    for slot in slots:
        place[slot.worker] = place.get(slot.worker, -1) + 1
        ranked.append((place[slot.worker], slot.worker, slot))
    wanted = sorted(ranked, key=lambda entry: (entry[2].end is not None, *entry[:2]))[:count]
    return [slot for _, _, slot in sorted(wanted, key=lambda entry: (entry[1], entry[0]))]


def _happening(happening: Happening, names: int) -> Text:
    """What has happened, in the columns of the slots. names: characters for the candidate."""
    text = Text(f"{clock(happening.seconds):>6}{GAP}", style="dim")
    event = happening.event
    if isinstance(event, Note):
        return text.append(event.text, style="not dim yellow")
    text.append(f"{_short(event.study)[:names]:<{names}}{GAP}{f'#{event.trial}':>5}{GAP}", style="not dim")
    text.append(event.state, style=f"not dim {STYLES.get(event.state, '')}")
    if event.state in ("pruned", "diverged", "returned"):
        text.append(f" at {event.iteration}")
    if event.value is not None and event.state != "diverged":
        text.append(f"{GAP}{event.value:.4f}", style="not dim")
    if happening.leads:
        text.append(f"{GAP}best {happening.leads} so far", style="not dim green")
    return text.append(f"{GAP}{event.reason.removeprefix(event.state + ': ')}") if event.reason else text


def _budget(candidate: Candidate, width: int) -> Text:
    """The budget as a bar: a stretch for each way to end, one for what runs, the rest is open."""
    counts = candidate.counts()
    stretches = [(counts[end], DONE, STYLES[end]) for end in counts]
    waiting = candidate.total - candidate.done - candidate.running
    stretches += [(candidate.running, GOING, "blue"), (waiting, OPEN, "dim")]
    text, upto, drawn = Text(), 0, 0
    for count, glyph, style in stretches:
        upto += count
        edge = round(upto / max(candidate.total, 1) * width)
        text.append(glyph * (edge - drawn), style=style)
        drawn = edge
    return text


def _bar(done: int, total: int, width: int, style: str) -> Text:
    halves = round(2 * width * min(done / max(total, 1), 1))
    full, half = divmod(halves, 2)
    return Text().append(DONE * full + HALF * half, style=style).append(OPEN * (width - full - half), style="dim")


def _table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> list[Text]:
    head = Text(GAP).join([_fit(Text(column.title), column) for column in columns])
    head.stylize("dim")
    cells = ([_fit(cell, column) for cell, column in zip(row, columns, strict=False)] for row in rows)
    return [head, *map(Text(GAP).join, cells)]


def _fit(cell: Cell, column: Column) -> Text:
    text = cell.copy() if isinstance(cell, Text) else Text(cell)
    text.truncate(column.width, overflow="ellipsis")
    text.pad_left(column.width - text.cell_len) if column.right else text.pad_right(column.width - text.cell_len)
    return text


def _cut(table: list[Text], height: int, what: str) -> list[Text]:
    if len(table) <= height:
        return table
    return [*table[: height - 1], Text(f"+{len(table) - height + 1} more {what}", style="dim")]


def _short(study: str) -> str:
    return study.rpartition("/")[2]


def _name_width(progress: Progress, width: int) -> int:
    longest = max((len(_short(name)) for name in progress.candidates), default=0)
    return min(max(len("candidate"), longest), 16 if width < 100 else 28)
