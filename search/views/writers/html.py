"""Pages in HTML, a report above all: no script, nothing from elsewhere, light or dark as the reader has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunemax.envs.canvas import COLOURS
from tunemax.search.charts import svg
from tunemax.search.charts.picture import Picture
from tunemax.search.charts.svg import escape
from tunemax.search.views.document import Section, Table

POLICY = "default-src 'none'; style-src 'unsafe-inline'"

STYLE = (
    """
:root { --paper: #ffffff; --ink: #1f2430; --faint: #667085; --grid: #e6e9ef; --panel: #f6f7f9;
  --mark: #98a2b3; --link: #1d5fbf; color-scheme: light dark }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171d; --ink: #e7eaf0; --faint: #9aa4b2; --grid: #2a303a; --panel: #1c2129; --mark: #667085;
    --link: #8ab4f8 }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1, h2, figcaption { overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; text-wrap: balance }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--grid) }
p, ul { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere } ul { padding-left: 1.2rem } li { margin: .3rem 0 }
.lead { font-size: 1.12rem; font-weight: 600 }
.note, figcaption { color: var(--faint); font-size: .88rem }
.wide { overflow-x: auto; margin: .8rem 0 }
figure { margin: 0; width: min-content; min-width: min(100%, 20rem) } .on-phone { display: none }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; margin: .8rem 0 } .figures > * { max-width: 100% }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--grid) }
th { font-weight: 600; color: var(--faint); vertical-align: bottom } th, td { white-space: nowrap }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); text-align: left;
  white-space: normal; overflow-wrap: anywhere; min-width: 9.2rem; max-width: 20rem }
.words { text-align: left } td.words:last-child { white-space: normal; min-width: 15rem }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: .4rem; overflow-x: auto; font-size: .88rem }
a { color: var(--link) }
svg { display: block; font: 12px system-ui, sans-serif } svg .ink { fill: var(--ink) } svg .faint { fill: var(--faint) }
svg .grid { stroke: var(--grid); fill: none } svg .axis, svg .mark { stroke: var(--mark); fill: none }
svg .mark { stroke-dasharray: 3 3 }
svg .line { fill: none; stroke-linejoin: round } svg .ring { fill: var(--paper); stroke-width: 2 }
@media screen and (max-width: 45rem) {
  .on-phone { display: block } .on-desk { display: none } td.words:last-child { white-space: nowrap }
}
@media print {
  h2 { break-after: avoid } figure, tr { break-inside: avoid } .wide { overflow: visible } table { font-size: .68rem }
  th, td { padding-right: .5rem } th:first-child, td:first-child { position: static; min-width: 7rem }
  td.words:last-child { min-width: 10rem }
  pre { white-space: pre-wrap; overflow-wrap: anywhere }
}
"""
    + "\n".join(
        f"svg .line.c{hue}, svg .ring.c{hue} {{ stroke: {colour} }} svg .area.c{hue}, svg .word.c{hue} "
        f"{{ fill: {colour} }}"
        for hue, colour in enumerate(COLOURS)
    )
    + "\n"
)


def render(title: str, sections: Sequence[Section]) -> str:
    """The whole page of a report."""
    return page(title, [line for section in sections for line in _section(section)])


def page(title: str, body: Sequence[str]) -> str:
    """A whole page. body: lines that are HTML already."""
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{text(title)}</h1>",
    ]
    return "\n".join([*head, *body, "</main></body></html>", ""])


def _section(section: Section) -> list[str]:
    lines = [f"<section><h2>{text(section.title)}</h2>"]
    if section.lead:
        lines.append(f'<p class="lead">{text(section.lead)}</p>')
    lines += [f"<p>{text(sentence)}</p>" for sentence in section.sentences]
    if section.items:
        lines += ["<ul>", *(f"<li>{text(item)}</li>" for item in section.items), "</ul>"]
    lines += [_table(table) for table in section.tables]
    lines += [f"<p>{text(sentence)}</p>" for sentence in section.after]
    lines += [f'<p class="note">{text(note)}</p>' for note in section.notes]
    if section.figures:
        lines.append(f'<div class="figures">{"".join(map(_figure, section.figures))}</div>')
    if section.code:
        lines.append(f"<pre>{escape(chr(10).join(section.code))}</pre>")
    return [*lines, "</section>"]


def text(words: str) -> str:
    """Words in which nothing is markup, and no line begins with a percent sign."""
    return escape(words).replace(" %", "\u00a0%")


def link(address: str, words: str) -> str:
    return f'<a href="{escape(address)}">{text(words)}</a>'


def _figure(picture: Picture) -> str:
    """A picture that is too wide for a phone is there twice, and the page shows the one that fits."""
    drawn = f'<div class="wide">{svg.draw(picture)}</div>'
    if picture.size.width > svg.NARROW:
        narrow = f'<div class="wide on-phone">{svg.draw(picture, svg.NARROW)}</div>'
        drawn = f'<div class="wide on-desk">{svg.draw(picture)}</div>{narrow}'
    return f"<figure>{drawn}<figcaption>{text(picture.label)}</figcaption></figure>"


def _table(table: Table[Any]) -> str:
    kinds = [' class="words"' if place and column.words else "" for place, column in enumerate(table.columns)]
    head = "".join(f"<th{kind}>{text(cell)}</th>" for kind, cell in zip(kinds, table.heads, strict=True))
    rows = (
        "".join(f"<td{kind}>{text(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in table.rows
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
