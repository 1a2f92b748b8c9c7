"""Pictures: what each renderer shows of one and the same, and what would break a drawing is left out."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
from typing import Any

import optuna
import pytest
from PIL import Image
from PIL.Image import Image as Still

from tunemax.envs.canvas import COLOURS
from tunemax.search.charts import plotly, png, svg
from tunemax.search.charts.picture import Axis, Cells, Curve, Curves, Dot, Look, Picture, Point, Row, Rows
from tunemax.search.charts.pictures import learning_curves, ranking
from tunemax.search.results.leaderboard import Candidate, Entry, Leaderboard
from tunemax.search.storage.attributes import CONFIG


def curve(name: str, hue: int, *values: float, look: Look = "bold", **more: Any) -> Curve:
    return Curve(name, hue, [Point(step, value) for step, value in enumerate(values)], look, **more)


def curves(*shown: Curve, **more: Any) -> Curves:
    return Curves(x=Axis("iteration"), y=more.pop("y", Axis("loss")), curves=shown, **more)


def rows(*shown: Row) -> Rows:
    return Rows(x=Axis("loss"), rows=shown)


def still(picture: Picture) -> Still:
    return Image.open(io.BytesIO(png.draw(picture))).convert("RGB")


def has(image: Still, hue: int) -> bool:
    wanted = tuple(int(COLOURS[hue][at : at + 2], 16) for at in (1, 3, 5))
    return any(colour == wanted for _, colour in image.getcolors(1 << 20) or ())


def lines(text: str, hue: int) -> list[list[tuple[float, float]]]:
    """The points of the lines of a hue in an SVG, across and down."""
    tracks = re.findall(rf'<polyline class="line c{hue}" points="([^"]*)"', text)
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in track.split())] for track in tracks]


def test_what_lies_aside_is_for_the_dashboard_and_thin_lines_are_not_for_a_still() -> None:
    picture = curves(
        curve("a", 0, 3, 2), curve("a", 1, 3, 1, look="thin"), curve("b", 2, 3, 1, look="dotted", aside=True)
    )
    assert [trace["line"]["color"] for trace in plotly.draw(picture)["data"]] == list(COLOURS[:3])
    assert [bool(lines(svg.draw(picture), hue)) for hue in range(3)] == [True, True, False]
    assert [has(still(picture), hue) for hue in range(3)] == [True, False, False]


def test_a_steep_start_does_not_flatten_the_rest() -> None:
    values = [100.0, 50.0, *(2 - 0.1 * step for step in range(9))]
    picture = curves(curve("a", 0, *values), steep=0.2)
    low, high = plotly.draw(picture)["layout"]["yaxis"]["range"]
    assert low < min(values)
    assert high < 3
    (track,) = lines(svg.draw(picture), 0)
    assert len(track) == 9, "what is above the frame is not drawn"
    steps = [down - before for (_, before), (_, down) in itertools.pairwise(track)]
    assert min(steps) > 20, "the fall of the rest is seen"


def test_a_legend_has_each_name_once_with_its_boldest_line() -> None:
    shown = [curve("a", 0, 3, 2, look="thin"), curve("a", 0, 3, 2, look="thin"), curve("a", 0, 3, 1), curve("b", 1, 2)]
    traces = plotly.draw(curves(*shown))["data"]
    assert [(trace["name"], trace["line"]["width"]) for trace in traces if trace["showlegend"]] == [("a", 3), ("b", 3)]
    assert svg.draw(curves(*shown)).count(">a</text>") == 1


def test_names_at_the_ends_do_not_cover_each_other() -> None:
    text = svg.draw(curves(*(curve(f"name {hue}", hue, 3, 2 + hue / 1000) for hue in range(5)), curve("far", 5, 3, 9)))
    downs = sorted(float(down) for down in re.findall(r'<text class="word c\d" x="[^"]*" y="([^"]*)"', text))
    assert len(downs) == 6
    assert all(below - above >= svg.LINE for above, below in itertools.pairwise(downs))


def test_panels_lie_one_below_the_other_and_are_logarithmic_if_values_are_far_apart() -> None:
    y = Axis("gamma", log=None)
    layout = plotly.draw(curves(curve("a", 0, 1, 90), y=y), curves(curve("a", 0, 1, 2), y=y))["layout"]
    assert [layout[name]["type"] for name in ("yaxis", "yaxis2")] == ["log", "linear"]
    assert layout["yaxis"]["domain"][0] > layout["yaxis2"]["domain"][1]
    assert ">10</text>" in svg.draw(curves(curve("a", 0, 1, 90), y=y))


@pytest.mark.parametrize("values", [[], [2.0], [2.0, 2.0], [math.nan, math.inf, 2.0, 1.0, math.nan], [math.nan]])
def test_any_curve_can_be_drawn(values: list[float]) -> None:
    picture = curves(curve("a", 0, *values), curve("b", 1, 3, 1))
    json.dumps(plotly.draw(picture), allow_nan=False)
    assert not re.search(r"\b(nan|inf)\b", svg.draw(picture))
    assert has(still(picture), 1)


def test_a_band_ends_where_its_curve_does() -> None:
    points = [Point(0, 2.0, 1.9, 2.1), Point(1, 1.5, 1.4, 1.6), Point(2, math.nan, math.nan, math.nan)]
    text = svg.draw(curves(Curve("a", 0, points)))
    (band,) = re.findall(r'<polygon class="area c0" points="([^"]*)"', text)
    assert len(band.split()) == 4
    assert "nan" not in text


def test_words_of_a_picture_are_words() -> None:
    hostile = "<script>"
    for picture in (curves(curve(hostile, 0, 2, 1), label=hostile), rows(Row(hostile, 0, Dot(1.0, hostile)))):
        assert hostile not in svg.draw(picture)
        assert "&lt;script&gt;" in svg.draw(picture)


def test_a_row_has_its_interval_in_all_renderers() -> None:
    picture = rows(Row("a", 0, Dot(2.0, "the mean"), (1.5, 3.0), [Dot(1.6, "seed 1"), Dot(2.9, "seed 2")]))
    dots, mean = plotly.draw(picture)["data"]
    assert (dots["x"], dots["text"]) == ([1.6, 2.9], ["seed 1", "seed 2"])
    assert (mean["error_x"]["arrayminus"], mean["error_x"]["array"]) == ([0.5], [1.0])
    assert svg.draw(picture).count("<circle") == 3
    assert has(still(picture), 0)


def test_a_result_that_is_not_finite_has_no_place_in_a_ranking() -> None:
    counts: dict[str, Any] = dict.fromkeys(
        ("complete", "pruned", "diverged", "duplicate", "failed", "cancelled", "running", "waiting"), 0
    )
    entries = [
        Entry(name, f"q/{name}", None, None, member_steps=0, tokens=0, values=values, **counts)
        for name, values in (("a", (2.0, math.inf)), ("b", (math.inf,)))
    ]
    board, candidates = Leaderboard("Q", "q", tuple(entries)), [Candidate(name, "q", []) for name in "ab"]
    picture = ranking(board, candidates)
    assert [(row.name, row.main.value, list(row.dots)) for row in picture.rows] == [("a", 2.0, [])]
    assert has(still(picture), 0)
    assert "inf" not in svg.draw(picture)


def test_a_trial_that_reports_only_where_it_starts_has_a_curve() -> None:
    trial = optuna.trial.create_trial(value=2.0, intermediate_values={0: 2.0}, system_attrs={CONFIG: "{}"})
    picture = learning_curves("Q", [Candidate("a", "q/a", [trial])])
    assert "a 2.000" in svg.draw(picture)
    assert plotly.draw(picture)["data"][0]["x"] == [0]


# ---- cells -----------------------------------------------------------------------------------------------------------


def cells(values: list[list[float]], *names: str, **more: Any) -> Cells:
    return Cells(x=Axis("looked at"), y=Axis("looks"), values=values, across=names, down=names, **more)


def test_cells_are_the_darker_the_larger_they_are_in_every_renderer() -> None:
    picture = cells([[2.0, 0.0], [1.0, math.nan]], "a", "<b>", hue=1)
    drawn = svg.draw(picture)
    assert re.findall(r'class="area c1" opacity="([\d.]+)"', drawn) == ["1.00", "0.50"]
    assert "&lt;b&gt; ← a: 1" in drawn
    assert "<b>" not in drawn
    image = still(picture)
    assert has(image, 1)
    (trace,) = plotly.draw(picture)["data"]
    assert trace["type"] == "heatmap"
    assert trace["zmax"] == 2
    assert trace["colorscale"][1][1] == COLOURS[1]
    json.dumps(plotly.draw(picture), allow_nan=False)


def test_letters_stand_beside_their_cells_and_longer_names_do_not() -> None:
    assert ">x</text>" in svg.draw(cells([[1.0]], "x"))
    assert ">⏎</text>" in svg.draw(cells([[1.0]], "\n"))
    assert ">word</text>" not in svg.draw(cells([[1.0]], "word"))


def test_cells_without_anything_in_them_are_paper() -> None:
    assert 'class="area' not in svg.draw(cells([[0.0]], "x"))
    assert png.draw(cells([], *()))
