"""The first page of `tunemax dashboard`: every question with its answer, and the way to all that is shown of it.

Pages of optuna-dashboard begin with a list of studies, and hold the answer behind an icon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunemax.search.question.counting import counted
from tunemax.search.storage.attributes import ANSWER, DEFINITION, QUESTION
from tunemax.search.storage.damage import parsed
from tunemax.search.storage.database import Stored
from tunemax.search.views.writers import html

DASHBOARD = "/dashboard"
STUDY = f"{DASHBOARD}/studies/"
OLDEST_FIRST = f"{DASHBOARD}?studies_order_by=asc"
NOTHING = "Nothing is known yet."
EMPTY = "No question has been asked yet: tunemax study run NAME asks one, and tunemax study list names some."

Family = dict[str, list[Stored]]
"""A question's studies, and those of what confirms and repeats it, by question."""


def page(studies: Sequence[Stored], tensorboard: str | None = None) -> str:
    """The newest question first, with its confirmations and repeats below it. studies: oldest first. tensorboard: its
    address."""
    families: dict[str, Family] = {}
    for study in studies:
        if question := _text(study, QUESTION):
            families.setdefault(question.partition(".")[0], {}).setdefault(question, []).append(study)
    newest = sorted(families.values(), key=lambda family: -max(study.key for each in family.values() for study in each))
    body = [line for family in newest for line in _question(family)] or [f"<p>{html.text(EMPTY)}</p>"]
    if others := {study.key: study.name for study in studies if not _text(study, QUESTION)}:
        body += ["<section><h2>Other studies</h2>", _links("", others), "</section>"]
    ways = [html.link(OLDEST_FIRST, "all studies in optuna-dashboard")]
    ways += [html.link(tensorboard, "TensorBoard")] if tensorboard else []
    return html.page("Questions", [f'<p class="note">{" · ".join(ways)}</p>', *body])


def _question(family: Family) -> list[str]:
    """One question: its words, its answer, and where everything is."""
    name, studies = next(iter(family.items()))
    first = studies[0]
    definition = parsed(_text(first, DEFINITION))
    asked = definition.get("question") if isinstance(definition, dict) else None
    ways = [html.link(f"{STUDY}{first.key}/note", "answer in full"), html.link(f"{STUDY}{first.key}", "figures")]
    if studies[1:]:
        ids = ",".join(str(study.key) for study in studies)
        ways.append(html.link(f"{DASHBOARD}/compare-studies?ids={ids}", "compare"))
    answer = _text(first, ANSWER) or NOTHING
    lines = [
        f"<section><h2>{html.text(str(asked or name))}</h2>",
        f"<p>{html.text(answer)}</p>",
    ]
    for group, members in family.items():  # such as the confirmation at a longer horizon
        if (theirs := _text(members[0], ANSWER) or NOTHING) != answer:
            lines.append(f"<p>{html.text(f'{group}: {theirs}')}</p>")
    lines.append(f"<p>{' · '.join(ways)}</p>")
    for group, members in family.items():
        candidates = {study.key: study.name.rpartition("/")[2] for study in members}
        lines.append(_links(f"{group}, {counted(len(members), 'study')}: ", candidates))
    return [*lines, "</section>"]


def _text(study: Stored, key: str) -> str:
    """What tunemax has written on a study; empty if there is nothing, or what it never writes."""
    value = study.attributes.get(key)
    return value if isinstance(value, str) else ""


def _links(what: str, names: Mapping[int, str]) -> str:
    """A line of links to the pages of studies. names: by key."""
    links = ", ".join(html.link(f"{STUDY}{key}", name) for key, name in names.items())
    return f'<p class="note">{html.text(what)}{links}</p>'
