"""A question on a Ray cluster of three machines, all of them this one, of which one is killed half-way.

    pip install 'tunemax[ray,postgres]'
    python examples/ray_three_nodes.py softmax_variants --storage postgresql+psycopg://me@host/studies

Each machine is a raylet with one core. What the killed one has trained goes on on the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from ray.cluster_utils import Cluster

from tunemax.gpt.errors import TunemaxError
from tunemax.search.storage.questions import load_from

MACHINES = 3


def ended(name: str, where: str) -> float:
    """The share of a question's trials that have ended, 0 before there is one."""
    try:
        counts = load_from(where, name).states()
    except TunemaxError:
        return 0.0
    return 1 - (counts["waiting"] + counts["running"]) / counts.total()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", metavar="FILE|QUESTION")
    parser.add_argument("--storage", metavar="URL", default=os.environ.get("TUNEMAX_STORAGE", "tunemax.db"))
    arguments = parser.parse_args()
    name = os.path.basename(arguments.what).removesuffix(".yaml")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    machines = [cluster.add_node(num_cpus=1) for _ in range(MACHINES)]
    try:
        words = ["study", "run", arguments.what, "--ray", cluster.address, "--storage", arguments.storage]
        program = "import sys; from tunemax.search.cli import main; sys.exit(main())"
        run = subprocess.Popen([sys.executable, "-c", program, *words])
        while run.poll() is None and ended(name, arguments.storage) < 0.5:
            time.sleep(1)
        if run.poll() is None:
            print(f"one of {MACHINES} machines is killed", file=sys.stderr)
            cluster.remove_node(machines[1], allow_graceful=False)
        return run.wait()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(main())
