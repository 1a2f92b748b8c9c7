"""``tunemax rl headroom``: what there is to be won by choosing, before an agent is trained to choose."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tunemax.gpt.paths import path_typed
from tunemax.search.cli.common import count_flag, storage_flag, whole
from tunemax.search.cli.parser import add_command
from tunemax.search.cli.scenes import flags_of, scene_flags, scene_of
from tunemax.search.storage.paths import default_storage

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.rl.headroom import Report

INSTANCES = 32
LINES = 20
"""Of progress, at most."""


def register(actions: Subcommands) -> None:
    parser = add_command(actions, "headroom", "what there is to be won in an environment by choosing", headroom)
    scene_flags(parser)
    count_flag(parser, "--instances", f"of test; half as many of validation (default {INSTANCES})", default=INSTANCES)
    count_flag(parser, "--member-steps", "in all, at most (default: what 16 settings and schedules cost)")
    parser.add_argument(
        "--seed", type=whole("--seed", 0), default=1, metavar="N", help="of schedules and looks (default 1)"
    )
    parser.add_argument(
        "--out", type=path_typed, metavar="DIR", help="folder of the result (default: beside the agents)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    storage_flag(parser)


def headroom(arguments: argparse.Namespace) -> None:
    """Measure it, print the table, and keep it for `rl evaluate`."""
    import torch

    from tunemax.envs.texts import check_sets
    from tunemax.search.cli.common import print_json
    from tunemax.search.machine.alone import check_room
    from tunemax.search.rl.flags import scene_words
    from tunemax.search.rl.gains import table
    from tunemax.search.rl.headroom import BREADTH, TOGETHER, Plan, measure
    from tunemax.search.rl.journal import Journal
    from tunemax.search.rl.trials import as_begun, headroom_folder
    from tunemax.search.storage.commands import typed
    from tunemax.search.storage.database import open_storage
    from tunemax.search.views.writers.terminal import aligned, wrapped

    torch.set_num_threads(1)
    scene = scene_of(arguments)
    for values in scene.task.variations():
        check_room(scene.task.config_of(values), BREADTH * min(TOGETHER, arguments.instances))
    plan = Plan.within(scene, arguments.instances, arguments.member_steps, arguments.seed)
    check_sets(scene.task, ("validation", "test"))
    where = arguments.storage or default_storage()
    storage = open_storage(where, create=True)
    plan = replace(plan, scene=as_begun(storage, scene))
    folder = arguments.out or headroom_folder(storage, plan.scene)
    journal = Journal(folder / "trainings.jsonl", plan.scene)
    try:
        with _progress(plan.member_steps, arguments.json) as report:
            found = measure(plan, journal, report)
    except KeyboardInterrupt:
        words = [*scene_words(plan.scene), *flags_of(arguments, "instances", "member-steps", "seed", "out", "json")]
        again = typed(where, "rl", "headroom", *words)
        raise KeyboardInterrupt(f"what has been trained is kept; go on with {again}") from None
    path = found.write(folder)
    if arguments.json:
        print_json(found.plain)
        return
    print("\n".join([*wrapped(found.sentence), "", *aligned(table(found)), "", *wrapped(found.explained)]))
    print(f"\nIt is kept in {path}", flush=True)


@contextlib.contextmanager
def _progress(total: int, as_json: bool) -> Iterator[Report]:
    """A bar, and a line for each twentieth of the way; lines alone, beside the JSON, if that is asked for."""
    from tunemax.search.rl.bar import Pace, bar

    aside = partial(print, file=sys.stderr, flush=True)
    shown = contextlib.nullcontext((lambda done: None, aside)) if as_json else bar("headroom", total, "member-steps")
    pace, lines = Pace(total), 0
    with shown as (move, say):

        def report(what: str, steps: int, before: bool) -> None:
            nonlocal lines
            pace.add(steps, before)
            move(pace.done)
            if pace.done * LINES // total > lines:
                lines = pace.done * LINES // total
                say(f"{what}: {pace}")

        yield report
