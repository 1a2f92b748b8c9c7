"""``tunemax train``: one training from flags, from a run that stopped, or from a study's winner."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
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
        help="take the fields of a study's best trial, of its trial N as in STUDY#N, or of a run; flags change them",
    )
    start.add_argument(
        "--continue",
        dest="go_on",
        action="store_true",
        help="with --from: begin with its weights, too; optimizer and learning rate begin anew",
    )
    start.add_argument(
        "--trial", type=whole("--trial", 0), metavar="N", help="with --from: this trial instead of the best"
    )
    start.add_argument(
        "--storage", metavar="URL", help="with --from: the database of the study, as tunemax study takes it"
    )
    add_field_flags(parser, list(all_specs().values()))


def run(arguments: argparse.Namespace) -> None:
    """Train, with the fields that were given over those of the run or the trial it starts from."""
    from tunemax.gpt import matmul
    from tunemax.gpt import run as runs
    from tunemax.gpt.config import Config, all_specs, changed
    from tunemax.gpt.record import recorded
    from tunemax.gpt.schedule import overlapping
    from tunemax.search.cli.continuing import continued, said
    from tunemax.search.cli.flags import config_from

    given = config_from(arguments)
    starts = {"--resume": arguments.resume, "--config": arguments.config, "--from": arguments.trained}
    if len(named := [flag for flag, value in starts.items() if value]) > 1:
        raise TunemaxError(f"{' and '.join(named)} both say where to start; give one of them")
    needy = {"--trial": arguments.trial is not None, "--storage": arguments.storage, "--continue": arguments.go_on}
    if not arguments.trained and any(needy.values()):
        raise TunemaxError(f"{next(flag for flag, value in needy.items() if value)} needs --from TRIAL")
    if arguments.resume:
        before = Config.stored(recorded(arguments.resume).config)
        check_means_something(before, given)
        set_up_for(before)
        horizon = all_specs()["max_iters"].check(given.get("max_iters", before.train.max_iters))
        result = runs.resume(arguments.resume, given, saying(int(horizon)), note)
    else:
        begin = None
        if arguments.go_on:
            begin, config = continued(_trained(arguments), given)
            note(said(begin, config))
        else:
            begun = configured(arguments.config) if arguments.config else _fields(arguments)
            config = Config.of(changed(begun, given))
        check_evaluation(config, given)
        set_up_for(config)
        if overlap := overlapping(config.train):
            note(overlap)
        if config.train.precision == "bf16" and (fault := matmul.bf16_fault(config.train.device)):
            note(fault)
        with going_on(way_of(config)):
            result = runs.train(config, saying(config.train.max_iters), start=begin)
    say_end(result)


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


def configured(file: Path) -> dict[str, Any]:
    """The fields of a configuration in a file: a run's, in its folder, or flat names with values, as YAML or JSON.

    Where a run's files went is left out. Raises TunemaxError for what is neither.
    """
    from tunemax.gpt.config import PARTS, PLACES, all_specs, resolve
    from tunemax.gpt.defaults import of_their_time
    from tunemax.gpt.record import CONFIG
    from tunemax.search.question.yaml_lines import read_yaml

    written = file / CONFIG if file.is_dir() else file
    located = read_yaml(written)
    data = located.data
    is_run = isinstance(data, dict) and isinstance(data.get("config"), dict)
    if not isinstance(data, dict):
        raise TunemaxError(f"{file}: expected fields with their values, as in `n_layer: 4`, or the folder of a run")
    if "question" in data:
        raise TunemaxError(f"{file}: a study file; run it with {shlex.join(['tunemax', 'study', 'run', str(file)])}")
    fields = {**of_their_time(data["config"]), **dict.fromkeys(PLACES, "")} if is_run else data
    for name, value in fields.items():
        try:
            checked = all_specs()[resolve(name)].check(value)
            if name in PARTS:
                PARTS[name].find(checked)
        except TunemaxError as error:
            line = located.line(("config", name) if is_run else (name,))
            raise TunemaxError(f"{written}:{line}: {error}") from None
    return fields


def _trained(arguments: argparse.Namespace) -> Trained:
    """What --from names."""
    from tunemax.search.results.trained import find

    return find(arguments.trained, arguments.storage, arguments.trial)


def _fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of what --from names; nothing without it."""
    from tunemax.gpt.defaults import of_their_time

    return of_their_time(_trained(arguments).fields) if arguments.trained else {}


def check_evaluation(config: Config, given: Mapping[str, Any]) -> None:
    """Say what `eval_iters` was taken as. Raises TunemaxError for more `eval_tokens` than there are, and where a field
    that was given decides nothing."""
    from tunemax.gpt.data import open_data
    from tunemax.gpt.evaluation import chosen_itself, converted

    train = config.train
    if train.eval_by == "tokens" and "eval_iters" in given and "eval_tokens" in given:
        raise TunemaxError("--eval_iters and --eval_tokens both say how much is evaluated; give one of them")
    if train.eval_by == "tokens" and "eval_iters" in given:
        note(converted(train.eval_iters, train.eval_tokens))
    check_means_something(config, given)
    if chosen_itself(given):
        open_data(train.dataset).check_evaluation(train.eval_slice, train.eval_tokens)


def check_means_something(config: Config, given: Mapping[str, Any]) -> None:
    """Raise TunemaxError for a field of evaluations that would be ignored, since an older rule measures."""
    if config.train.eval_by == "windows" and "eval_tokens" in given:
        nothing = "means nothing with eval_by = windows, by which older versions have evaluated"
        remedy = "leave it out, or begin anew with --eval_by tokens as well"
        raise TunemaxError(f"--eval_tokens = {given['eval_tokens']}: {nothing}; {remedy}")


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
