"""Makes the pictures of docs/results.md: of each question what was confirmed, every seed a dot.

.venv/bin/python docs/images/results.py tunemax.db optimizers attention
"""

from __future__ import annotations

import sys
from pathlib import Path

from tunemax.search.charts import pictures, png
from tunemax.search.results.findings import gather
from tunemax.search.storage.questions import load_from


def main(where: str, *names: str) -> None:
    for name in names:
        findings = gather(load_from(where, name))
        picture = pictures.intervals(name, findings.confirmations[0], findings.candidates)
        target = Path(__file__).with_name(f"results_{name}.png")
        target.write_bytes(png.draw(picture))
        print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
