"""``tunemax rl …``: agents that steer a training, the baselines that they have to beat, and the verdict."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.errors import TunemaxError
from search.cli import steer
from search.cli.asked import positive, storage_flag
from search.cli.parser import add_command
from search.cli.scenes import scene_flags, scene_of, scene_words
from search.places import default_storage

if TYPE_CHECKING:
    from envs.training import Plan
    from search.cli.parser import Subcommands

ALGORITHMS = ("sac", "ppo", "tqc", "dqn")


def register(commands: Subcommands) -> None:
    group = commands.add_parser("rl", help="agents that steer trainings", description="Agents that steer trainings.")
    actions = group.add_subparsers(metavar="ACTION", required=True)

    parser = add_command(actions, "train", "train an agent, or go on with one that was interrupted", train)
    scene_flags(parser)
    parser.add_argument("--algo", required=True, metavar="NAME", help=f"one of {', '.join(ALGORITHMS)}")
    parser.add_argument("--seed", type=_seed, default=1, metavar="N", help="of networks, instances and exploration (default 1)")
    parser.add_argument("--steps", type=positive("--steps"), required=True, metavar="N", help="of the environment, all trainings together")
    parser.add_argument("--envs", type=positive("--envs"), default=16, metavar="N", help="trainings at once, as one model (default 16)")
    parser.add_argument(
        "--round", type=positive("--round"), default=5, metavar="N", help="episodes of each between two looks at validation (default 5)"
    )
    parser.add_argument("--absolute", action="store_true", help="actions are places between bounds instead of moves")
    parser.add_argument("--preset", metavar="FILE", help="hyperparameters (default: ours in envs/presets)")
    parser.add_argument("--out", metavar="DIR", help="folder of the agent (default: beside the storage, in runs/rl/)")
    storage_flag(parser)

    parser = add_command(actions, "tune", "tune the baselines that agents are compared with", tune)
    scene_flags(parser)
    parser.add_argument("--policy", metavar="A,B", help="only these baselines (default: all that mean something here)")
    parser.add_argument(
        "--member-steps", type=positive("--member-steps"), metavar="N", help="for each baseline (default: what the dearest agent has cost)"
    )
    storage_flag(parser)

    parser = add_command(actions, "evaluate", "compare agents and baselines on held-out instances", evaluate)
    scene_flags(parser)
    parser.add_argument("agents", nargs="*", metavar="AGENT", help="folders or files (default: all finished agents of the environment)")
    parser.add_argument("--sets", default="test", metavar="A,B", help="of instances: test, larger, longer (default test)")
    parser.add_argument("--instances", type=positive("--instances"), default=32, metavar="N", help="of each set (default 32)")
    parser.add_argument("--absolute", action="store_true", help="agents whose actions are places between bounds")
    parser.add_argument("--out", metavar="DIR", help="folder of the report (default: beside the agents)")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    storage_flag(parser)

    steer.register(actions)


def train(arguments: argparse.Namespace) -> None:
    """Train an agent as a trial of its environment's study."""
    import torch

    from envs.algorithms import checked, load
    from envs.training import Plan
    from search.rl.ledger import agent_folder
    from search.storage import open_storage

    torch.set_num_threads(1)
    algorithm = checked(arguments.algo)
    action = "discrete" if algorithm == "dqn" else "absolute" if arguments.absolute else "box"
    preset = load(algorithm, Path(arguments.preset) if arguments.preset else None)
    plan = Plan(scene_of(arguments, action), algorithm, preset, arguments.seed, arguments.steps, arguments.envs, arguments.round)
    storage = open_storage(arguments.storage or default_storage(), create=True)
    folder = Path(arguments.out) if arguments.out else agent_folder(storage, plan.scene, algorithm, plan.seed)
    words = [*scene_words(arguments), "--algo", algorithm, "--seed", str(plan.seed), "--steps", str(plan.steps)]
    for flag, value, usual in (("--envs", plan.envs, 16), ("--round", plan.round, 5)):
        words += [flag, str(value)] if value != usual else []
    words += ["--absolute"] * arguments.absolute
    for flag, given in (("--preset", arguments.preset), ("--out", arguments.out), ("--storage", arguments.storage)):
        words += [flag, given] if given else []
    _train(plan, folder, str(arguments.storage or default_storage()), shlex.join(["tunemax", "rl", "train", *words]))


def _train(plan: Plan, folder: Path, where: str, again: str) -> None:
    from envs.saved import Evaluation
    from envs.training import last_of, train_agent
    from search.rl.ledger import Entry
    from search.rl.view import bar
    from search.storage import open_storage, storage_errors

    storage = open_storage(where, create=True)
    entry: Entry | None = None
    total = plan.rounds * plan.round_steps
    before = last_of(folder)
    if before and before.steps >= total:
        print(f"{folder}: trained for {before.steps:,} steps already; ask for more with --steps")
        return
    each = f"{plan.rounds} round{'s' * (plan.rounds > 1)} of {plan.round_steps:,}"
    begun = f"goes on after {before.steps:,} of {total:,} steps" if before else f"{total:,} steps in {each}"
    print(f"{plan.scene.id}: {plan.algorithm} with seed {plan.seed}, {begun}; {folder}", flush=True)
    with storage_errors(storage.url), bar(f"{plan.algorithm} {plan.seed}", total, "steps") as (move, say):

        def report(found: Evaluation) -> bool:
            assert entry is not None
            header = last_of(folder)
            assert header is not None
            entry.evaluated(header.evaluations, header.spent.member_steps)
            lost = f"  {found.diverged:.0%} diverged" if found.diverged else ""
            say(f"steps {found.steps:,}/{total:,}  validation return {found.total:.4f}{lost}  {header.spent.member_steps:,} member-steps")
            return False

        def stepped(steps: int) -> None:
            nonlocal entry
            entry = entry or Entry.of(storage, plan, folder)  # not before the folder is ours
            move(steps)

        try:
            trained = train_agent(plan, folder, report, stepped)
        except KeyboardInterrupt:
            if entry:
                entry.wait()
            raise KeyboardInterrupt(f"the last save is kept; go on with {again}") from None
        assert entry is not None
        best = trained.best_evaluation
        entry.end(best.total, best.diverged)
    spent = f"{trained.spent.learning:,} member-steps of learning and {trained.spent.validation:,} of validation"
    print(f"best: validation return {best.total:.4f} after {best.steps:,} steps; {spent}; {trained.best}")


def tune(arguments: argparse.Namespace) -> None:
    """Tune each baseline for what an agent has cost, unless told otherwise."""
    import torch

    from search.rl.ledger import dearest
    from search.rl.tuning import check_kind, kinds_for, least_budget
    from search.rl.tuning import tune as tune_baseline
    from search.rl.view import bar
    from search.storage import open_storage, storage_errors

    torch.set_num_threads(1)
    scene = scene_of(arguments)
    kinds = tuple(arguments.policy.split(",")) if arguments.policy else kinds_for(scene.task)
    for kind in kinds:
        check_kind(kind, scene.task)
    storage = open_storage(arguments.storage or default_storage(), create=True)
    budget = arguments.member_steps or dearest(storage, scene)
    if budget is None:
        raise TunemaxError(
            f"{scene.id}: no agent is trained yet, so nobody knows what it costs; "
            f"give --member-steps N, at least {least_budget(scene.task):,}"
        )
    for kind in kinds:
        with storage_errors(storage.url), bar(kind, budget, "member-steps") as (move, _):
            try:
                found = tune_baseline(storage, scene, kind, budget, lambda spent, best, move=move: move(spent))  # type: ignore[misc]
            except KeyboardInterrupt:
                again = shlex.join(["tunemax", "rl", "tune", *scene_words(arguments), "--member-steps", str(budget)])
                raise KeyboardInterrupt(f"finished candidates are kept; go on with {again}") from None
        print(f"{kind}: validation return {found.validation:.4f}, trial {found.trial}, {found.member_steps:,} member-steps", flush=True)


def evaluate(arguments: argparse.Namespace) -> None:
    """Hold a contest on each set, print what it says, and keep it as a report."""
    import torch

    from envs.agents import BEST, Agent
    from envs.instances import find_set
    from search.cli.printing import print_json
    from search.cli.tables import aligned, wrapped
    from search.places import runs_folder
    from search.rl.contest import hold
    from search.rl.ledger import find_study, finished_folders, study_name
    from search.rl.report import explained, table, write
    from search.rl.tuning import chosen, kinds_for
    from search.rl.verdict import judge
    from search.storage import open_storage

    torch.set_num_threads(1)
    scene = scene_of(arguments, "absolute" if arguments.absolute else "box")
    names = [find_set(name).name for name in arguments.sets.split(",")]
    for name in names:
        if arguments.instances > find_set(name).count:
            raise TunemaxError(f"--instances = {arguments.instances}: set {name} has {find_set(name).count}")
    storage = open_storage(arguments.storage or default_storage(), create=False)
    study = find_study(storage, scene)
    folders = [Path(given) for given in arguments.agents] or (finished_folders(study) if study else [])
    paths = [folder / BEST if folder.is_dir() else folder for folder in folders]
    tuned = [each for kind in kinds_for(scene.task) if (each := chosen(storage, scene.moves, kind))]
    if not paths and not tuned:
        again = shlex.join(["tunemax", "rl", "train", *scene_words(arguments), "--algo", "sac", "--steps", "N"])
        raise TunemaxError(f"{scene.id}: neither an agent nor a tuned baseline is there to be compared; begin with {again}")
    agents = [(Agent.load(path), path) for path in paths]
    folder = Path(arguments.out) if arguments.out else runs_folder(str(storage.url)) / study_name(scene) / "verdict"
    found = []
    for name in names:
        where = folder / f"{name}-{arguments.instances}"
        verdict = judge(hold(scene, agents, tuned, name, arguments.instances, where / "runs", _tell))
        write(verdict, where)
        found.append(verdict.to_json())
        if not arguments.json:
            print("\n".join(["", *aligned((table(verdict).columns, *table(verdict).rows)), ""]))
            for sentence in (*explained(verdict), "", *verdict.sentences, "", *verdict.remarks):
                print("\n".join(wrapped(sentence)))
            print(f"\nThe report is in {where}", flush=True)
    if arguments.json:
        print_json(found)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _seed(text: str) -> int:
    from search.rl.ledger import MOST_SEED

    if not text.isdecimal() or int(text) > MOST_SEED:
        raise TunemaxError(f"--seed = {text}: expected a whole number from 0 to {MOST_SEED:,}")
    return int(text)
