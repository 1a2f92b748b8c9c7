"""``tunemax train``: one training from flags, from a run that stopped, or from a study's winner."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.paths import path_typed
from tunemax.search.cli.common import whole
from tunemax.search.cli.interrupts import going_on
from tunemax.search.cli.parser import Parser, add_command
from tunemax.search.question.counting import counted
from tunemax.search.results.durations import about

if TYPE_CHECKING:
    from tunemax.gpt.config import Config
    from tunemax.gpt.divergence import Stability
    from tunemax.gpt.run import Result, Row
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.results.trained import Trained

USED = "--use_softmax_variant"
"""A switch that commands for ReaLLMASIC's nanoGPT have, for which here the variant stands alone."""


def register(commands: Subcommands) -> None:
    parser = add_command(commands, "train", "train one configuration", run, fill=_fill)
    start = "[--resume RUN | --config FILE | --from TRIAL [--continue]]"
    parser.usage = f"%(prog)s {start}\n                     [--FIELD VALUE ...]"


def _fill(parser: Parser) -> None:
    from tunemax.gpt.config import all_specs
    from tunemax.search.cli.flags import add_field_flags

    start = parser.add_argument_group("start")
    start.add_argument("--resume", type=path_typed, metavar="RUN", help="folder of a run to go on with")
    start.add_argument(
        "--config",
        type=path_typed,
        metavar="FILE",
        help="take the fields of a run (its folder), or of a YAML or JSON file; flags change them",
    )
    start.add_argument(
        "--from",
        dest="trained",
        metavar="TRIAL",
        help="take the fields of STUDY's best trial, of STUDY#N or of a run",
    )
    start.add_argument(
        "--continue",
        dest="go_on",
        action="store_true",
        help="with --from: begin with its weights, too",
    )
    start.add_argument(
        "--trial", type=whole("--trial", 0), metavar="N", help="with --from: this trial instead of the best"
    )
    start.add_argument("--storage", metavar="URL", help="with --from: the database of the study")
    add_field_flags(parser, list(all_specs().values()))
    replaced = start.add_argument(USED, dest="replaced", action=argparse.BooleanOptionalAction, help=argparse.SUPPRESS)
    parser.more[replaced] = "with --no- the plain softmax, whatever softmax_variant says, as in ReaLLMASIC's nanoGPT"


def run(arguments: argparse.Namespace) -> None:
    """Train, with the fields that were given over those of the run or the trial it starts from."""
    from tunemax.gpt import matmul
    from tunemax.gpt import run as runs
    from tunemax.gpt.config import Config, all_specs, changed
    from tunemax.gpt.record import recorded
    from tunemax.gpt.schedule import overlapping
    from tunemax.search.cli.continuing import continued, said
    from tunemax.search.cli.flags import config_from
    from tunemax.search.question.configuration_file import read_configuration

    given = {**config_from(arguments), **_replaced(arguments)}
    starts = {"--resume": arguments.resume, "--config": arguments.config, "--from": arguments.trained}
    if len(named := [flag for flag, value in starts.items() if value]) > 1:
        raise TunemaxError(f"{' and '.join(named)} both say where to start; give one of them")
    needy = {"--trial": arguments.trial is not None, "--storage": arguments.storage, "--continue": arguments.go_on}
    if not arguments.trained and any(needy.values()):
        raise TunemaxError(f"{next(flag for flag, value in needy.items() if value)} needs --from TRIAL")
    if arguments.resume:
        before = Config.stored(recorded(arguments.resume).config)
        set_up_for(before)
        horizon = all_specs()["max_iters"].check(given.get("max_iters", before.train.max_iters))
        result = runs.resume(arguments.resume, given, saying(int(horizon)), note)
    else:
        begin = None
        if arguments.go_on:
            begin, config = continued(_trained(arguments), given)
            note(said(begin, config))
        else:
            begun = read_configuration(arguments.config, given) if arguments.config else _fields(arguments)
            config = Config.of(changed(begun, given))
        config.check_meant(given)
        check_evaluation(config, given)
        set_up_for(config)
        if config.train.documents == "apart":
            _say_short_documents(config)
        if overlap := overlapping(config.train):
            note(overlap)
        if config.train.precision == "bf16" and (fault := matmul.bf16_fault(config.train.device)):
            note(fault)
        with going_on(way_of(config)):
            result = runs.train(config, saying(config.train.max_iters), start=begin)
    say_end(result)


def _replaced(arguments: argparse.Namespace) -> dict[str, str]:
    """What the flag of another code base says of the softmax variant, beside --softmax_variant."""
    from tunemax.search.cli.flags import config_from

    if arguments.replaced and "softmax_variant" not in config_from(arguments):
        raise TunemaxError(f"{USED}: by which variant? add --softmax_variant NAME, or leave the flag out")
    return {"softmax_variant": "softmax"} if arguments.replaced is False else {}


def way_of(config: Config, *, steered: bool = False) -> Callable[[], str]:
    """How a new run would go on if it was ended at once: it holds its folder from some moment on."""
    from tunemax.gpt import run as runs
    from tunemax.gpt.record import CONFIG

    folder = runs.run_folder(config)
    return lambda: runs.way_on(folder, steered) if (folder / CONFIG).exists() else ""


def set_up_for(config: Config) -> None:
    """Set this process up for one training. Raises TunemaxError if there is no memory for it."""
    from tunemax.gpt import matmul
    from tunemax.search.machine.alone import check_room, threads
    from tunemax.search.machine.processes import set_up

    check_room(config)
    set_up(matmul.route_for(config), threads(config))


def _trained(arguments: argparse.Namespace) -> Trained:
    """What --from names."""
    from tunemax.search.results.trained import find

    return find(arguments.trained, arguments.storage, arguments.trial)


def _fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of what --from names; nothing without it."""
    from tunemax.gpt.defaults import of_their_time

    return of_their_time(_trained(arguments).fields) if arguments.trained else {}


def check_evaluation(config: Config, given: Mapping[str, Any]) -> None:
    """Say what `eval_iters` was taken as. Raises TunemaxError for more `eval_tokens` than there are."""
    from tunemax.gpt.data import open_data
    from tunemax.gpt.evaluation import chosen_itself, converted

    train = config.train
    if train.eval_by == "tokens" and "eval_iters" in given and "eval_tokens" in given:
        raise TunemaxError("--eval_iters and --eval_tokens both say how much is evaluated; give one of them")
    if train.eval_by == "tokens" and "eval_iters" in given:
        note(converted(train.eval_iters, train.eval_tokens))
    if chosen_itself(given):
        open_data(train).check_evaluation(train.eval_slice, train.eval_tokens)


def _say_short_documents(config: Config) -> None:
    """How much of the text is not trained on, since no window fits into its document."""
    from tunemax.gpt.data import open_data

    share = 1 - open_data(config.train).share_in_windows(config.model.block_size)
    if share > 0:
        shorter = f"stand in documents that are shorter than a window, {config.model.block_size + 1} tokens"
        note(f"{100 * share:.1f} % of the training text are not trained on: they {shorter}")


def note(sentence: str) -> None:
    """Something that the user should know."""
    from tunemax.search.views.writers.terminal import hanging

    print(hanging("", sentence), file=sys.stderr)


def saying(horizon: int, now: Callable[[], float] = time.monotonic) -> Callable[[Row], None]:
    """Prints the lines of a run of so many iterations, with how far it is and how long it still takes."""
    from tunemax.search.views.writers.terminal import side_by_side

    begun: tuple[int, float] | None = None

    def say(row: Row) -> None:
        nonlocal begun
        measured, left = ["", ""], ""
        if not math.isnan(row.validation_loss):
            measured = [f"validation {row.validation_loss:.4f}", f"{row.bits_per_byte:.4f} bits/byte"]
        if begun is None:
            begun = (row.iteration, now())  # behind it lies what is done once, such as compiling
        elif row.iteration < horizon:
            pace = (now() - begun[1]) / (row.iteration - begun[0])
            left = f"{about(pace * (horizon - row.iteration))} left"
        loss, rate = f"train {row.train_loss:.4f}", f"rate {row.learning_rate:.3g}"
        speed = (f"norm {row.grad_norm:.3g}", f"{row.tokens_per_s:,.0f} tokens/s", left)
        print(side_by_side(f"iteration {row.iteration}/{horizon}", loss, *measured, rate, *speed), flush=True)

    return say


def say_end(result: Result) -> None:
    """How a run has ended, and where it is kept."""
    from tunemax.search.views.writers.terminal import hanging

    end = f"stopped at iteration {result.iteration}: {result.event}"
    how = f"{end if result.event else f'finished at iteration {result.iteration}'}{spikes(result.stability)}"
    print(hanging("", f"{how}; the run is in {result.folder}"))


def spikes(found: Stability) -> str:
    """Training losses above the cap, behind how a run has ended; empty if there were none."""
    if not found.spikes:
        return ""
    of_them = f"the highest {found.highest_spike:.3g}, the first at iteration {found.first_spike}"
    return f", with {counted(found.spikes, 'spike')} of the training loss above the cap ({of_them})"
