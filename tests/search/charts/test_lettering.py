"""Words of a picture: they lie inside it, whatever candidates are called and however many there are."""

from __future__ import annotations

import io
import re
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tunemax.envs.canvas import shortened
from tunemax.search.charts import plotly, png, svg
from tunemax.search.charts.lettering import extent, filled, short
from tunemax.search.charts.picture import Axis, Curve, Curves, Dot, Picture, Point, Row, Rows, Size

TEXT = re.compile(
    r'<text class="[^"]*" x="(?P<x>[^"]+)" y="(?P<y>[^"]+)" text-anchor="(?P<anchor>\w+)">'
    r"(?:<title>(?P<title>[^<]*)</title>)?(?P<text>[^<]*)</text>"
)
BOX = re.compile(r'viewBox="0 0 (\d+) (\d+)"')
LONG = "constantmax_with_a_learned_base_and_one_beta_a_head_"
letters = st.characters(exclude_categories=("Cc", "Cs"))
names = st.lists(st.text(letters, min_size=1, max_size=60), min_size=1, max_size=40, unique=True)
values = st.floats(1e-6, 1e6)


def labels(drawn: str) -> list[tuple[float, float, float, float, str]]:
    """Left, right, line and half of the height of each text, and what it says."""
    found = []
    for match in TEXT.finditer(drawn):
        wide = extent(unescape(match["text"]))
        left = float(match["x"]) - {"start": 0.0, "middle": wide / 2, "end": wide}[match["anchor"]]
        found.append((left, left + wide, float(match["y"]), 6.0, unescape(match["text"])))
    return found


def check(picture: Picture) -> None:
    """Every label lies inside, and no two cover each other."""
    for most in (None, svg.NARROW):
        drawn = svg.draw(picture, most)
        box = BOX.search(drawn)
        assert box
        width, height = map(int, box.groups())
        assert most is None or width <= most
        placed = labels(drawn)
        assert len(placed) == drawn.count("<text")
        for left, right, down, _, text in placed:
            assert -0.1 <= left <= right <= width + 0.1, f"{text!r} is cut off"
            assert 9 < down <= height, f"{text!r} is cut off"
        for place, (left, right, down, half, text) in enumerate(placed):
            for other in placed[place + 1 :]:
                apart = right <= other[0] + 0.1 or other[1] <= left + 0.1 or abs(down - other[2]) >= 2 * half
                assert apart, f"{text!r} and {other[4]!r} cover each other"


@given(names, st.lists(values, min_size=40, max_size=40), st.sampled_from(["ends", "list"]), st.booleans())
@example(["sigsoftmax_base2", "a"], [2.0277] * 40, "ends", False)
@example([LONG + "a", LONG + "b"], [2.0] * 40, "list", True)
@example([f"candidate {place}" for place in range(30)], [2.0] * 40, "ends", False)
@example(["软最大值变体" * 4, "🙂" * 9, "W" * 40], [1.0, 2.0, 3.0] * 14, "ends", True)
def test_names_of_curves_lie_inside(found: list[str], ends: list[float], where: str, log: bool) -> None:
    curves = [
        Curve(name, hue, [Point(0, 5.0), Point(123456, end)], "bold", result=end)
        for hue, (name, end) in enumerate(zip(found, ends, strict=False))
    ]
    for size in (Size(), Size(340, 220)):
        axis, kind = Axis("steps " * 12, ends=(0, 123456)), "ends" if where == "ends" else "list"
        picture = Curves(x=axis, y=Axis(log=log), curves=curves, names=kind, size=size)  # type: ignore[arg-type]
        check(picture)
        for most in (None, svg.NARROW):
            results = {text.rpartition(" ")[2] for *_, text in labels(svg.draw(picture, most))}
            assert {f"{curve.result:.3f}" for curve in curves} <= results, "a name leaves its result no room"


@given(names, values, st.floats(1.0001, 1e9), st.booleans(), st.booleans())
@example(["constantmax"], 0.0002, 1.9, True, False)
@example([LONG], 1e-5, 1e5, True, False)
@example(["0" * 23], 45690.0, 761273993.0, True, False)
def test_names_of_rows_and_numbers_of_an_axis_lie_inside(
    found: list[str], low: float, factor: float, log: bool, bars: bool
) -> None:
    rows = [Row(name, hue, Dot(low * factor, "0.12"), None, [Dot(low)]) for hue, name in enumerate(found)]
    ends = (low, low * factor * 1.15)
    check(Rows(x=Axis("validation loss at the horizon", "nats a token", ends, log), rows=rows, bars=bars))


def test_a_long_name_is_shortened_where_it_says_least_and_told_in_full() -> None:
    one, two = f"{LONG}one", f"{LONG}two"
    curves = Curves(
        x=Axis("iteration"),
        y=Axis(),
        curves=[Curve(name, hue, [Point(0, 3), Point(9, 2)], result=2.0) for hue, name in enumerate((one, two))],
    )
    rows = Rows(x=Axis("loss"), rows=[Row(name, hue, Dot(2.0)) for hue, name in enumerate((one, two))])
    for picture in (curves, rows):
        shown = [match for match in TEXT.finditer(svg.draw(picture, svg.NARROW)) if match["title"]]
        assert [match["title"] for match in shown] == [one, two]
        assert all("…" in match["text"] for match in shown)
        assert len({match["text"] for match in shown}) == 2, "they differ at their ends"
    assert ["…" in trace["name"] for trace in plotly.draw(curves)["data"]] == [True, True]
    assert [trace["legendgroup"] for trace in plotly.draw(curves)["data"]] == [one, two]
    axis = plotly.draw(rows)["layout"]["yaxis"]
    assert axis["tickvals"] == [one, two]
    assert all(extent(name) <= 200 for name in axis["ticktext"])


@pytest.mark.parametrize("kind", ["curves", "rows"])
def test_a_still_keeps_its_margin_whatever_it_says(kind: str) -> None:
    """Nothing is drawn into the last pixels at the right, where a word that is too long would go on."""
    words = {"still": (LONG * 3, LONG * 4), "x": Axis("loss")}
    curves = [Curve(f"{LONG}{hue}", hue, [Point(0, 3), Point(9, 2)], result=2.0) for hue in range(3)]
    rows = [Row(f"{LONG}{hue}", hue, Dot(2.0 + hue), (1.5 + hue, 3.0 + hue)) for hue in range(3)]
    picture = Curves(y=Axis(), curves=curves, **words) if kind == "curves" else Rows(rows=rows, **words)  # type: ignore[arg-type]
    image = Image.open(io.BytesIO(png.draw(picture))).convert("L")
    edge = image.crop((image.width - 6, 0, image.width, image.height))
    assert edge.getextrema() == (255, 255)
    assert image.crop((0, 0, 4, image.height)).getextrema() == (255, 255)


@given(st.text(max_size=30), st.integers(0, 200))
def test_a_shortened_text_fits_or_is_a_single_mark(text: str, most: float) -> None:
    found = short(text, most)
    assert extent(found) <= most or found == "…"
    assert found == text or "…" in found
    assert shortened(text, float("inf"), extent) == text


@given(st.text(st.sampled_from("ab c"), max_size=60), st.integers(40, 200))
def test_lines_hold_all_words_that_fit(text: str, most: int) -> None:
    lines = filled(text, most)
    assert all(extent(line) <= most for line in lines)
    if all(extent(word) <= most for word in text.split()):
        assert " ".join(lines).split() == text.split()
