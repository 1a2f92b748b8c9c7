"""Does a comparison rank? Runs a study file several times with other tuning seeds and compares the orders of the
candidates.

    python benchmarks/repeats.py studies/softmax_variants.yaml --seeds 1 2

Each repeat is a whole search of its own: other initial weights, order of data, sampler. Prints the best value of each
candidate in each repeat, the Spearman correlation of each pair of repeats, and what the leaderboard predicted from one
alone.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from tunemax.gpt.data import open_data
from tunemax.search.machine.plan import plan
from tunemax.search.question.study_file import load_study_file
from tunemax.search.results.leaderboard import Leaderboard, leaderboard
from tunemax.search.storage.questions import create
from tunemax.search.workers import supervisor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a study file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="tuning seeds, one a repeat")
    arguments = parser.parse_args()

    boards, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            start = time.monotonic()
            boards.append(repeat(arguments.file, seed, Path(folder) / f"{seed}.db"))
            seconds.append(time.monotonic() - start)

    table = Table("candidate", *(f"seed {seed}" for seed in arguments.seeds))
    bests = [{entry.name: entry.best.value for entry in board.entries if entry.best} for board in boards]
    for name in bests[0]:
        table.add_row(name, *(f"{best[name]:.4f}" for best in bests))
    table.add_row("minutes", *(f"{spent / 60:.1f}" for spent in seconds))
    Console(width=100).print(table)
    for seed, board in zip(arguments.seeds, boards, strict=True):
        print(f"Seed {seed}: {board.order() or 'too few trials to speak of a repeat'}")
    for (first, a), (second, b) in itertools.combinations(zip(arguments.seeds, bests, strict=True), 2):
        correlation = spearmanr([a[name] for name in a], [b[name] for name in a]).statistic
        print(f"Spearman correlation of seeds {first} and {second}: {correlation:.2f}")


def repeat(file: Path, seed: int, where: Path) -> Leaderboard:
    """Run the study file's search once, with this tuning seed, in a storage of its own."""
    definition = load_study_file(file).model_copy(update={"seed": seed})
    question = create(where, definition, open_data(definition.data))
    planned = plan(definition, sum(map(len, question.trials().values())))
    supervisor.run(str(where), question.name, planned, seconds=None, report=lambda event: None)
    return leaderboard(question)


if __name__ == "__main__":
    main()
