"""``tunemax study replay``: another pruner on recorded curves."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.common import count_flag, opened, print_json, storage_flag
from tunemax.search.cli.parser import add_command
from tunemax.search.question.counting import counted, one_or

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.question.pruners import Pruner
    from tunemax.search.results.replay import Replayed


def register(actions: Subcommands) -> None:
    parser = add_command(
        actions, "replay", "apply another pruner to recorded curves: what it would have saved and lost", replay
    )
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--pruner", metavar="NAME", help="none, median or asha (default: the question's own)")
    parser.add_argument(
        "--warmup", type=_number, metavar="SHARE", help="share of the horizon before anything is pruned"
    )
    count_flag(parser, "--reduction", "asha: one in N goes on")
    count_flag(parser, "--startup", "median: finished trials before anything is pruned")
    storage_flag(parser, as_json=True)


def replay(arguments: argparse.Namespace) -> None:
    from tunemax.search.results.replay import replay as replayed

    question = opened(arguments, arguments.question)
    pruner = _asked(arguments, question.definition.pruner)
    found = replayed(question, pruner)
    if arguments.json:
        print_json({"pruner": pruner.model_dump(), "studies": [each.to_json() for each in found]})
    else:
        print(_told(found, pruner))


def _asked(arguments: argparse.Namespace, own: Pruner) -> Pruner:
    """The pruner that the flags describe.

    What they leave out is the question's own if it is the same kind, else the default.
    """
    import pydantic

    from tunemax.gpt.fields import explain
    from tunemax.search.question.pruners import Pruner

    name = arguments.pruner or own.name
    flags = {key: getattr(arguments, key) for key in ("warmup", "reduction", "startup")}
    given = {key: value for key, value in flags.items() if value is not None}
    usual = own.model_dump() if name == own.name else {"name": name}
    try:
        return Pruner.model_validate(usual | given)
    except pydantic.ValidationError as error:
        flag = error.errors(include_url=False)[0]["loc"]
        raise TunemaxError(f"{'--' if flag else '--pruner '}{explain(error)}") from error


def _told(found: list[Replayed], pruner: Pruner) -> str:
    from tunemax.search.views.tables import replayed
    from tunemax.search.views.words import settings
    from tunemax.search.views.writers.terminal import aligned, wrapped

    options = [name for name in pruner.options() if name not in ("cooled", "spared")]  # which a replay does not weigh
    how = ", ".join([f"Pruner {pruner.name}", *settings({name: getattr(pruner, name) for name in options}, 3)])
    cut = sum(each.cut for each in found)
    sentences = [
        f"{how}: trials one after the other, in the order of their numbers. Spent, needed: member-steps of the trials "
        "with a full curve, as they were trained and as they would have been. Regret: by how much the best trial "
        "that is kept is worse than the winner."
    ]
    if cut:
        were, them = one_or(cut, "was", "were"), one_or(cut, "it", "them")
        ends = one_or(cut, "it ends where it", "they end where they")
        sentences.append(
            f"{counted(cut, 'trial')} {were} pruned before this pruner would have stopped {them}; {ends} ended."
        )
    return "\n".join([*aligned(replayed(found)), "", *wrapped(*sentences)])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TunemaxError(f"--warmup = {text}: expected a number, such as 0.5") from None
