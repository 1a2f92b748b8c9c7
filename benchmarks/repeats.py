"""Does an answer repeat? The whole of a study file with other tuning seeds, or its confirmation on other fresh seeds.

    python benchmarks/repeats.py studies/softmax_variants.yaml --seeds 1 2 3         # whole runs, one a tuning seed
    python benchmarks/repeats.py studies/softmax_variants.yaml --record 60           # winners on 60 seeds: a table
    python benchmarks/repeats.py studies/softmax_variants.yaml --replays 7           # confirmations drawn from it

A whole run tunes and confirms: other initial weights, order of data, points. A replay confirms the recorded winners
anew, on some of the recorded seeds in another order, by the rounds of the study file. Prints for each what is settled,
by how many runs and in how many minutes, and for tuned losses how far the orders agree.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import table
from scipy.stats import spearmanr

from tunemax.gpt.data import open_data
from tunemax.search.api import confirm_study, run_study
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.question.stages import MARGIN, Confirm
from tunemax.search.question.study_file import load_study_file
from tunemax.search.results.comparison import compare
from tunemax.search.results.confirmation import confirmations
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.results.rounds import Stand, first_seeds, next_seeds
from tunemax.search.storage.questions import create, load_from

RECORDED = Path(__file__).with_name("repeats.csv")


@dataclass(frozen=True)
class Answer:
    """What a confirmation has come to."""

    name: str
    verdicts: Mapping[str, str]
    runs: int
    minutes: float | None = None

    @property
    def settled(self) -> int:
        return sum(verdict != "undecided" for verdict in self.verdicts.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a study file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="tuning seeds, one a whole run")
    parser.add_argument("--record", type=int, default=0, help="train the winners of the first run on so many seeds")
    parser.add_argument("--replays", type=int, default=0, help="confirmations drawn from what was recorded")
    parser.add_argument("--table", type=Path, default=RECORDED, help="where that is")
    parser.add_argument("--folder", type=Path, default=Path("runs/repeats"), help="of the whole runs' databases")
    arguments = parser.parse_args()

    definition = load_study_file(arguments.file)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    whole = [run(definition, seed, arguments.folder / f"{seed}.db") for seed in arguments.seeds]
    if arguments.seeds:
        print(of_tuning(definition, [arguments.folder / f"{seed}.db" for seed in arguments.seeds]))
    if arguments.record:
        record(definition, arguments.folder / "1.db", arguments.record, arguments.table)
    drawn = []
    if arguments.replays:
        losses = recorded(arguments.table)
        drawn = [replay(losses, definition, index + 1) for index in range(arguments.replays)]
    if answers := [*whole, *drawn]:
        print(of_answers(answers))


def run(definition: StudyDefinition, seed: int, where: Path) -> Answer:
    """The whole study file with this tuning seed, in a storage of its own."""
    definition = definition.model_copy(update={"seed": seed})
    start = time.monotonic()
    create(where, definition, open_data(definition.data))
    run_study(definition.name, str(where))
    minutes = (time.monotonic() - start) / 60
    (found,) = confirmations(load_from(str(where), definition.name))
    verdicts = {entry.candidate: entry.verdict for entry in found.entries if entry.candidate != found.reference}
    runs = sum(entry.runs for entry in found.entries)
    return Answer(f"whole, tuning seed {seed}", verdicts, runs, minutes)


def record(definition: StudyDefinition, where: Path, seeds: int, to: Path) -> None:
    """Losses of a tuned question's winners on so many fresh seeds."""
    confirm_study(definition.name, str(where), Confirm(seeds=seeds))
    (found,) = confirmations(load_from(str(where), definition.name))
    by_candidate = {
        entry.candidate: {**entry.losses, **dict.fromkeys(entry.diverged, "inf")} for entry in found.entries
    }
    with to.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", *by_candidate])
        for seed in sorted(by_candidate[found.reference]):
            losses = (by_candidate[name].get(seed, "") for name in by_candidate)
            writer.writerow([seed, *(loss if isinstance(loss, str) else f"{loss:.6f}" for loss in losses)])


def recorded(table: Path) -> dict[str, dict[int, float | None]]:
    """Losses by candidate and seed."""
    rows = list(csv.DictReader(table.read_text().splitlines()))
    return {name: {int(row["seed"]): float(row[name]) for row in rows} for name in rows[0] if name != "seed"}


def replay(losses: Mapping[str, Mapping[int, float | None]], definition: StudyDefinition, index: int) -> Answer:
    """The confirmation of a study file on recorded losses, their seeds in another order."""
    stage = definition.confirm
    assert stage is not None
    assert stage.runs is not None
    reference, margin = stage.reference or "softmax", stage.margin or MARGIN
    order = [int(seed) for seed in np.random.default_rng(index).permutation(list(losses[reference]))]
    others = [name for name in losses if name != reference]
    seeds = dict.fromkeys(losses, first_seeds(stage.seeds, len(losses), stage.runs))
    while True:
        runs = {
            name: {place: own[seed] for place, seed in enumerate(order[: seeds[name]])} for name, own in losses.items()
        }
        found = {each.name: each for each in compare(runs, reference, stage.seeds, margin)}
        stands = {name: Stand(seeds[name], found[name].n, found[name].settled) for name in others}
        after = next_seeds(stands, reference, seeds[reference], stage.seeds, len(others), stage.runs)
        if after == seeds or max(after.values()) > len(order):
            verdicts = {name: found[name].verdict for name in others}
            return Answer(f"replay {index}", verdicts, sum(seeds.values()))
        seeds = after


def of_answers(answers: Sequence[Answer]) -> str:
    """What each has settled."""
    names = list(answers[0].verdicts)
    rows = [
        [
            answer.name,
            str(answer.settled),
            str(answer.runs),
            "" if answer.minutes is None else f"{answer.minutes:.1f}",
            *(answer.verdicts[name] for name in names),
        ]
        for answer in answers
    ]
    return table("What a confirmation settles", ["repeat", "settled", "runs", "minutes", *names], rows)


def of_tuning(definition: StudyDefinition, databases: Sequence[Path]) -> str:
    """The best tuned losses of each whole run, and how far their orders agree."""
    boards = [leaderboard(load_from(str(where), definition.name)) for where in databases]
    bests = [{entry.name: entry.best.value for entry in board.entries if entry.best} for board in boards]
    seeds = [where.stem for where in databases]
    rows = [[name, *(f"{best[name]:.4f}" for best in bests)] for name in bests[0]]
    lines = [table("Best tuned loss", ["candidate", *(f"seed {seed}" for seed in seeds)], rows)]
    for (first, a), (second, b) in itertools.combinations(zip(seeds, bests, strict=True), 2):
        correlation = spearmanr([a[name] for name in a], [b[name] for name in a]).statistic
        lines.append(f"Spearman correlation of the orders of seeds {first} and {second}: {correlation:.2f}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
