"""Makes dashboard.png, the picture of the README: a question's note, and below it its figures.

.venv/bin/python docs/images/dashboard.py studies/tunemax.db softmax_variants
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from browser import Browser
from served import Served

from tunemax.search.storage.database import study_id
from tunemax.search.storage.questions import load_from

TARGET = Path(__file__).with_name("dashboard.png")
MARGIN = 65
"""Pixels of the bar at the left, which says nothing on a picture."""


def main(where: str, name: str) -> None:
    question = load_from(where, name)
    study = study_id(question.storage, next(iter(question.siblings)))
    with Served(where, "--no-tensorboard") as served, Browser(1560, 1900) as browser:
        address = f"{served.dashboard}/dashboard/studies/{study}"
        shots = [part(browser, f"{address}/note", "document.querySelector('table + p')", from_top=True)]
        shots.append(part(browser, address, "document.getElementById('user-defined-plot:curves')", from_top=False))
    picture = Image.new("RGB", (shots[0].width, sum(shot.height for shot in shots)), "white")
    height = 0
    for shot in shots:
        picture.paste(shot, (0, height))
        height += shot.height
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    print(f"{TARGET}: {picture.width} x {picture.height}, {TARGET.stat().st_size / 1000:.0f} kB")


def part(browser: Browser, page: str, element: str, *, from_top: bool) -> Image.Image:
    """The window from its top, or from the top of an element, down to the end of the element."""
    browser.open(page)
    browser.wait(element)
    browser.run("return new Promise(done => setTimeout(done, 2000))")  # what moves has come to rest
    browser.run("const page = document.documentElement; page.style.zoom = innerWidth / page.scrollWidth")  # all of it
    top, bottom, width = browser.run(
        f"const box = {element}.getBoundingClientRect(); return [box.top, box.bottom, window.innerWidth]"
    )
    with tempfile.TemporaryDirectory() as folder:
        browser.picture(Path(folder) / "shot.png")
        shot = Image.open(io.BytesIO((Path(folder) / "shot.png").read_bytes())).convert("RGB")
    return shot.crop((MARGIN, 0 if from_top else int(top) - 10, width, int(bottom) + 12))


if __name__ == "__main__":
    main(*sys.argv[1:])
