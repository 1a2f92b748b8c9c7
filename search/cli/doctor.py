"""``tunemax doctor``: what this machine has, and with ``--calibrate`` how to share out its cores."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli.parser import add_command
from tunemax.search.question.counting import counted

if TYPE_CHECKING:
    from tunemax.gpt.config import Config
    from tunemax.search.cli.parser import Subcommands
    from tunemax.search.machine.calibration import Measurement


def register(commands: Subcommands) -> None:
    parser = add_command(commands, "doctor", "say what this machine has, and how best to share out its cores", run)
    parser.add_argument(
        "study",
        nargs="?",
        metavar="STUDY.yaml",
        help="with --calibrate: the study whose models to measure (default: tiny ones)",
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="measure processes, threads and slots, and use the best from now on"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="path or SQLAlchemy URL (default: TUNEMAX_STORAGE, else beside the study files)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the findings, or calibrate. Raises TunemaxError if something has to be mended."""
    if arguments.study and not arguments.calibrate:
        only = "a study is only looked at with --calibrate"
        raise TunemaxError(f"{arguments.study}: {only}; add it, or leave the study out")
    if arguments.calibrate:
        _calibrate(arguments.study)
        return
    from tunemax.search.machine.doctor import examine
    from tunemax.search.views.writers.terminal import hanging

    faults = []
    for finding in examine(arguments.storage):
        print(hanging(f"{'!' if finding.fault else ' '} {finding.name:<10} ", finding.text), flush=True)
        faults += [finding.name] if finding.fault else []
    if faults:
        raise TunemaxError(f"{', '.join(faults)}: to be mended, see the lines marked with !")


def _calibrate(study: str | None) -> None:
    from tunemax.search.machine.calibration import calibrate

    config = _config(study)
    model = config.model
    shape = f"{model.n_layer} layers x {model.n_embd}, context {model.block_size}"
    print(f"{shape}, batches of {config.train.batch_size}, {config.train.precision}, eager")
    print("some dozen measurements of a second each", flush=True)
    print("workers  threads  slots  member-steps/s")

    def report(found: Measurement) -> None:
        layout = found.shares
        rate = f"{found.rate:,.0f}" if found.rate else "a process died"
        print(f"{layout.workers:7}  {layout.threads:7}  {layout.slots:5}  {rate:>14}", flush=True)

    best = calibrate(config, report)
    workers, threads = counted(best.workers, "worker"), counted(best.threads, "thread")
    use = "studies of this size on the CPU that say nothing else use it from now on"
    print(f"Best here: {workers} of {threads} with {counted(best.slots, 'slot')}; {use}.")


def _config(study: str | None) -> Config:
    from tunemax.gpt.config import Config
    from tunemax.search.question.packaged import named
    from tunemax.search.question.study_file import load_study_file

    if study is None:
        small = {"n_layer": 2, "n_embd": 32, "n_head": 4, "block_size": 32, "batch_size": 8}
        return Config.of({**small, "device": "cpu"})
    first = next(iter(load_study_file(named(study)).siblings().values()))
    return Config.of({**first, "device": "cpu"})
