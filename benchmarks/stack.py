"""How fast members train, stacked K at a time, and what a trial costs beside its training.

    python benchmarks/stack.py                # three and a half minutes on two idle cores
    python benchmarks/stack.py --mixed        # also stacks of seven softmax variants; four and a half minutes
    python benchmarks/stack.py --shapes S0    # one shape and the overhead; two minutes
    python benchmarks/stack.py --quick        # seconds: only to see that it works

Prints Markdown. Nothing else should run meanwhile; the minima and maxima show whether something did.
"""

from __future__ import annotations

import argparse
from statistics import median

import members
import overhead
import torch
from report import environment

from tunemax.gpt.data import open_data

QUICK_STACKS = (1, 8)


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    corpus = open_data(args.data)
    print(*environment(), "", sep="\n", flush=True)
    stacks = QUICK_STACKS if args.quick else members.STACKS
    of_worker = 0.0
    for shape in args.shapes:
        found = members.measure(corpus, args.data, shape, stacks, args.mixed, args.rounds, args.seconds)
        print(members.show(shape, found), flush=True)
        if shape == args.shapes[0]:
            of_worker = next(median(c.rates) for c in found if c.name == f"softmax K={args.slots}")
    cases = [(sampler, pruner, args.trials) for sampler in ("random", "tpe") for pruner in ("none", "median")]
    cases.append(("gp", "none", args.trials))  # what `auto` is without a pruner
    costs = [[overhead.measure(corpus, args.data, *case, args.slots) for _ in range(args.repeats)] for case in cases]
    longer = overhead.measure(corpus, args.data, "tpe", "median", 5 * args.trials, args.slots)
    costs.append([longer])  # does a trial cost more, the longer the study is?
    print(overhead.show(costs, args.slots))
    training = 300 / of_worker
    share = median(cost.overhead for cost in costs[3]) / training
    of_trial = f"A trial of 300 iterations at {args.shapes[0]} trains for {training:.2f} s"
    print(f"{of_trial}; with tpe and median the overhead adds {100 * share:.1f} %.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=members.SHAPES, default=list(members.SHAPES))
    parser.add_argument("--rounds", type=_positive, help="rounds, in each of which every contender has its turn")
    parser.add_argument("--seconds", type=float, help="of each contender in each round")
    parser.add_argument("--threads", type=_positive, default=1, help="of torch")
    parser.add_argument("--trials", type=_positive, help="of the studies whose overhead is measured")
    parser.add_argument("--mixed", action="store_true", help="also stacks of seven softmax variants")
    parser.add_argument("--data", default="python_stdlib", help="dataset, as in a study file")
    parser.add_argument("--quick", action="store_true", help="few stacks, one short round; figures mean nothing")
    parser.set_defaults(slots=8)
    args = parser.parse_args()
    rounds, seconds, trials, args.repeats = (1, 0.01, 5, 1) if args.quick else (5, 1.0, 40, 3)
    args.rounds, args.seconds, args.trials = args.rounds or rounds, args.seconds or seconds, args.trials or trials
    return args


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least 1")
    return value


if __name__ == "__main__":
    main()
