"""``tunemax rl steer``: a normal training run whose controls an agent moves."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunemax.search.cli.common import count_flag
from tunemax.search.cli.interrupts import going_on
from tunemax.search.cli.parser import Parser, add_command
from tunemax.search.cli.train import check_evaluation, say_end, saying, set_up_for, way_of
from tunemax.search.question.counting import counted

if TYPE_CHECKING:
    from tunemax.search.cli.parser import Subcommands


def register(actions: Subcommands) -> None:
    parser = add_command(actions, "steer", "train one configuration while an agent moves its controls", run, fill=_fill)
    parser.usage = "%(prog)s AGENT [--every N] [--FIELD VALUE ...]"


def _fill(parser: Parser) -> None:
    from tunemax.gpt.config import all_specs
    from tunemax.search.cli.flags import add_field_flags

    parser.add_argument("agent", metavar="AGENT", help="folder of an agent, its file, or the name of a published one")
    every = "iterations between two moves (default: as many moves as in the agent's episodes)"
    count_flag(parser, "--every", every)
    add_field_flags(parser, list(all_specs().values()))


def run(arguments: argparse.Namespace) -> None:
    """Train with the agent's own fields, and those that were given over them."""
    from tunemax.envs.agents.agent import Agent
    from tunemax.envs.agents.cards import find
    from tunemax.envs.agents.controller import Pilot
    from tunemax.gpt import run as runs
    from tunemax.search.cli.flags import config_from
    from tunemax.search.views.writers.terminal import hanging

    given = config_from(arguments)
    pilot = Pilot(Agent.load(find(arguments.agent)), given, arguments.every)
    check_evaluation(pilot.config, given)
    set_up_for(pilot.config)
    train = pilot.config.train
    controls = ", ".join(pilot.task.controls)
    every = f"every {pilot.every} of {counted(train.max_iters, 'iteration')}"
    print(hanging("", f"{pilot.name} moves {controls} {every}"), flush=True)
    with going_on(way_of(pilot.config, steered=True)):
        result = runs.train(pilot.config, saying(train.max_iters), pilot)
    say_end(result)
