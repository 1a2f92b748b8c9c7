"""Which of a storage's studies are a question's siblings, and what other tools have made of them.

optuna-dashboard renames a study by copying it under another name, `optuna.copy_study` copies it with all that is
written on it, and both can delete one. So a study is a sibling by its name, and by what tunemax has written on it: what
has the name and says that it is another one is none, and what says so and has another name is a renamed one, or a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tunemax.gpt.fields import Value
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes
from tunemax.search.storage.commands import stock, typed
from tunemax.search.storage.damage import parsed

Attributes = Mapping[str, str]
"""What tunemax has written on a study."""


@dataclass(frozen=True)
class Siblings:
    """The studies of a question, told apart."""

    present: Mapping[str, Mapping[str, Value]]
    """Study → the flat values that it fixes."""
    renamed: Mapping[str, str]
    """Sibling → the name that it has now."""
    missing: tuple[str, ...]
    """Those that are in the storage under no name."""
    copies: Mapping[str, str]
    """Study → the sibling that it is a copy of; empty if nobody can say."""

    def sentences(self, definition: StudyDefinition, url: str) -> tuple[str, ...]:
        """What is to be said of those that are no siblings, with the remedy. url: of the storage."""
        return (
            *(
                f"{name}: renamed to {now} with other tools, and left out; "
                f"rename it back with {typed(url, 'study', 'rename', now, name)}"
                for name, now in self.renamed.items()
            ),
            *(f"{name}: not in this storage, and left out; {_anew(definition, url)}" for name in self.missing),
            *(
                f"{name}: a copy{f' of {of}' if of else ''} by other tools, and left out; "
                f"remove it with {stock(url, 'delete-study', '--study-name', name)}"
                for name, of in self.copies.items()
            ),
        )


def told_apart(
    siblings: Mapping[str, Mapping[str, Value]],
    studies: Mapping[str, Attributes],
    trained: Callable[[str], str | None],
) -> Siblings:
    """The studies that say that they belong to a question, oldest first, by what they are.

    siblings: as its definition has them. trained: the configuration that a study has trained, as JSON text; asked where
    a study of before does not say which sibling it is.
    """
    present = {name: fixed for name, fixed in siblings.items() if name in studies and _is(name, studies[name])}
    renamed: dict[str, str] = {}
    copies: dict[str, str] = {}
    for name, given in studies.items():
        if name in present:
            continue
        sibling = given.get(attributes.SIBLING) or _by_configuration(siblings, trained(name))
        if sibling in siblings and sibling not in present and sibling not in renamed:
            renamed[sibling] = name
        else:
            copies[name] = sibling if sibling in siblings else ""
    missing = tuple(name for name in siblings if name not in present and name not in renamed)
    return Siblings(present, renamed, missing, copies)


def _is(name: str, given: Attributes) -> bool:
    """Whether a study is the sibling of its name. One of before does not say which it is."""
    return given.get(attributes.SIBLING, name) == name


def _by_configuration(siblings: Mapping[str, Mapping[str, Value]], text: str | None) -> str:
    """The only sibling whose trials have such a configuration; empty if there is none."""
    if text is None:
        return ""
    config, fixed = parsed(text), list(siblings.values())
    if not isinstance(config, dict):
        return ""
    telling = {key for some in fixed for key in some if any(some[key] != other.get(key) for other in fixed)}
    fitting = [
        name
        for name, values in siblings.items()
        if all(config.get(key) == value for key, value in values.items() if key in telling)
    ]
    return fitting[0] if len(fitting) == 1 else ""


def _anew(definition: StudyDefinition, url: str) -> str:
    """How a sibling that is gone is made again."""
    if definition.confirms:
        longer = ["--longer", str(definition.confirms.factor)] if definition.confirms.factor > 1 else []
        return f"train it anew with {typed(url, 'study', 'confirm', definition.confirms.question, *longer)}"
    if definition.repeat:
        return f"train it anew with {typed(url, 'study', 'run', definition.repeat.question)}"
    return f"train it anew with {typed(url, 'study', 'run', 'FILE')}, its study file"
