"""Makes throughput.png, a picture of the README, from the tables of benchmarks/RESULTS.md: two processes against two
plain loops.

.venv/bin/python docs/images/throughput.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tunemax.envs.canvas import COLOURS, Row, draw_rows

RESULTS = Path(__file__).parents[2] / "benchmarks" / "RESULTS.md"
TARGET = Path(__file__).with_name("throughput.png")
SHAPE = re.compile(r"^#### (S\d): (\d+ layers x \d+)")
RATIO = re.compile(r"([\d.]+) \(([\d.]+)-([\d.]+)\)")


def main() -> None:
    rows = list(_rows(RESULTS.read_text().partition("## throughput.py")[2].partition("\n## ")[0]))
    note = (
        "two worker processes against two processes of a plain PyTorch loop: median of the rounds, slowest and fastest"
    )
    TARGET.write_bytes(draw_rows("How fast two cores train many small GPTs", note, "times the plain loops", rows))
    print(f"{TARGET}: {len(rows)} rows")


def _rows(section: str) -> Iterator[Row]:
    """For each way of each shape the fastest stack of softmax members, of the first table that has the shape."""
    shape = ""
    best: dict[str, Row] = {}
    seen: set[str] = set()
    for line in section.splitlines():
        if found := SHAPE.match(line):
            yield from best.values()
            best, shape = {}, "" if found[2] in seen else found[2]
            seen.add(found[2])
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not shape or len(cells) < 6 or cells[2] != "2" or not cells[0].startswith("softmax"):
            continue
        _, mode, precision = cells[0].split(", ")
        median, low, high = (float(number) for number in RATIO.match(cells[5]).groups())  # type: ignore[union-attr]
        name = f"{shape}, {mode}, {precision}"
        if name not in best or median > best[name].value:
            colour = COLOURS[
                ("eager, fp32", "eager, bf16", "compiled, fp32", "compiled, bf16").index(f"{mode}, {precision}")
            ]
            best[name] = Row(f"{name}, {cells[1]} stacked", median, (low, high), (), colour)
    yield from best.values()


if __name__ == "__main__":
    main()
