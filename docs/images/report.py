"""Makes report.png, the picture of the README: the first screens of a question's report, in light and dark side by
side.

.venv/bin/python docs/images/report.py studies/tunemax.db softmax_variants
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from browser import Browser

from tunemax.search.storage.questions import load_from
from tunemax.search.views.report import write

TARGET = Path(__file__).with_name("report.png")
WIDTH, HEIGHT = 1000, 2000


def main(where: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder, Browser(WIDTH, HEIGHT) as browser:
        page, *_ = write(load_from(where, name), Path(folder))
        shots = []
        for scheme in ("light", "dark"):
            browser.emulate(scheme=scheme)
            browser.open(page.as_uri())
            browser.picture(Path(folder) / "shot.png")
            shots.append(Image.open(io.BytesIO((Path(folder) / "shot.png").read_bytes())).convert("RGB"))
    picture = Image.new("RGB", (sum(shot.width for shot in shots), max(shot.height for shot in shots)), "white")
    for place, shot in enumerate(shots):
        picture.paste(shot, (place * WIDTH, 0))
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    print(f"{TARGET}: {picture.width} x {picture.height}, {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
