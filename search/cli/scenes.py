"""The flags that say which environment, and with which of its arguments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.common import count_flag
from tunemax.search.cli.parser import Parser

if TYPE_CHECKING:
    from tunemax.envs.agents.scene import Scene


def scene_flags(parser: Parser) -> None:
    group = parser.add_argument_group("environment")
    group.add_argument(
        "--env", required=True, metavar="ID", help="an id of docs/environments.md, such as Constantmax-v1"
    )
    count_flag(group, "--horizon", "iterations of an episode (default: the id's)")
    count_flag(group, "--frame-skip", "iterations of a step (default: the id's)")
    group.add_argument("--controls", metavar="A,B", help="fields that are moved (default: the id's)")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the trainings, as in --set n_layer=4; may be repeated",
    )
    for flag, metavar, about in (
        ("--vary", "FIELD=A,B", "instances differ in this field, and not in those of the id, as in --vary n_embd=8,64"),
        ("--held-out", "FIELD=A,B", "of it, what only transfer sets draw, as in --held-out n_embd=96"),
        ("--disturb", "KIND=A,B", "what happens in every episode, as in --disturb text=python_docstrings"),
    ):
        group.add_argument(flag, action="append", default=[], metavar=metavar, help=f"{about}; may be repeated")


def scene_of(arguments: argparse.Namespace, action: str = "box") -> Scene:
    """The environment that was asked for. Raises TunemaxError for what does not exist or go together."""
    from tunemax.envs.agents.scene import Scene
    from tunemax.gpt.evaluation import converted
    from tunemax.search.rl.flags import absolute, disturb_of, vary_of
    from tunemax.search.views.writers.terminal import hanging

    config: dict[str, Any] = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise TunemaxError(f"--set {text}: expected FIELD=VALUE, as in --set n_layer=4")
        config[name] = value
    vary, disturb = vary_of(arguments.vary, arguments.held_out), disturb_of(arguments.disturb)
    given = {"config": config, "vary": vary, "disturb": disturb}
    scene = Scene.of(
        arguments.env,
        action,
        horizon=arguments.horizon,
        frame_skip=arguments.frame_skip,
        controls=None if arguments.controls is None else arguments.controls.split(","),
        **{name: value for name, value in absolute(given, Path()).items() if value},
    )
    train = scene.task.config.train
    if "eval_iters" in config and train.eval_by == "tokens":
        print(hanging("", converted(train.eval_iters, train.eval_tokens)), file=sys.stderr)
    return scene


def flags_of(arguments: argparse.Namespace, *names: str) -> list[str]:
    """Those of some flags that were given, with their values unless they are switches."""
    values = {f"--{name}": getattr(arguments, name.replace("-", "_")) for name in names}
    given = {flag: value for flag, value in values.items() if value is not None and value is not False}
    return [word for flag, value in given.items() for word in (flag, *([] if value is True else [str(value)]))]
