"""Files of a comparison of models: a page that works offline, and each picture by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.gpt.paths import inside
from tunemax.search.charts import png, svg
from tunemax.search.charts.picture import Picture
from tunemax.search.results.beside import Beside
from tunemax.search.views.models import sections
from tunemax.search.views.writers import html

PAGE = "compare.html"


def write(found: Beside, pictures: Mapping[str, Picture], folder: Path) -> list[Path]:
    """Write the page, and an SVG and a PNG of each picture, each file whole or not at all; gives their paths.

    Raises TunemaxError if one cannot be written.
    """
    paths = []
    for name, data in _files(found, pictures):
        path = inside(folder, name)
        try:
            write_whole(path, data)
        except OSError as error:
            remedy = "mend its rights, or name another folder with --out"
            raise TunemaxError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error
        paths.append(path)
    return paths


def _files(found: Beside, pictures: Mapping[str, Picture]) -> Iterator[tuple[str, bytes]]:
    title = " and ".join(side.name for side in found.sides)
    yield PAGE, html.render(title, sections(found, pictures)).encode()
    for name, picture in pictures.items():
        yield f"{name}.svg", svg.standalone(picture).encode()
        yield f"{name}.png", png.draw(picture)
