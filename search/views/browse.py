"""Models looked into, as a page: where they look, what weights they give, what they write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.files import write_whole
from tunemax.search.charts import inside
from tunemax.search.question.counting import counted
from tunemax.search.results.browsed import Browsed
from tunemax.search.views.document import Section
from tunemax.search.views.writers import html

MAPS = (
    "Each token of a row takes from those before it and itself, the darker the more; point at a cell for its tokens "
    "and its weight. A colour is a layer. A head's darkest cell has the full colour, whatever its weight."
)


def sections(found: Sequence[Browsed]) -> Iterator[Section]:
    """Of each model: maps and texts of all moments that are kept, learnables and weights over its training."""
    for each in found:
        softmax = each.config.softmax.name
        last = each.moments[-1]
        states = (
            f"{counted(len(each.moments), 'state')} of its weights" if len(each.moments) > 1 else "its last weights"
        )
        kept = ", ".join(f"{moment.iteration:,}" for moment in each.moments)
        lead = f"{each.name}: {softmax}, {last.iteration:,} iterations"
        yield Section(each.name, lead=lead, sentences=(f"Kept here: {states}, at iteration {kept}.",))
        for moment in each.moments:
            title = f"Attention of {each.name} at iteration {moment.iteration:,}"
            yield Section(title, notes=(MAPS,), figures=tuple(inside.attention(moment)))
        moved = tuple(inside.learnables(each))
        if moved:
            yield Section(f"Learnables of {each.name}", figures=moved)
        weights = tuple(inside.weights(each))
        if weights:
            yield Section(f"Weights of {softmax} in {each.name}", figures=weights)
        texts = tuple(f"---- at iteration {moment.iteration:,}\n{moment.text}" for moment in each.moments)
        yield Section(f"What {each.name} writes", code=texts)


def write(found: Sequence[Browsed], path: Path) -> Path:
    """Write the page, whole or not at all. Raises TunemaxError if it cannot be written."""
    title = " and ".join(each.name for each in found)
    try:
        write_whole(path, html.render(title, list(sections(found))).encode())
    except OSError as error:
        remedy = "mend its rights, or name another file with --out"
        raise TunemaxError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error
    return path
