"""CPU time of a training step in two checkouts of wsseg, in alternating processes.

    python tests/benchmarks/step_cost.py BEFORE AFTER [--recipe npc_scribble] [--pairs 5] [--steps 12]

Both train the same iterations with one thread. Printed are the medians, and the median of the paired ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 3
"""First steps of a process that are not counted."""
CHILD = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from wsseg.commands.train import train
from wsseg.core.reporter import Silent

times = []

class Bar:
    def advance(self, note=""):
        times.append(time.process_time())
    def reach(self, done, note=""):
        pass

class Reporter(Silent):
    @contextmanager
    def progress(self, what, total, done=0):
        yield Bar() if what == "training" else Silent()

train(Path(sys.argv[1]), sys.argv[3:], Path(sys.argv[2]), False, Reporter())
print(" ".join(str(after - before) for before, after in zip(times, times[1:])))
"""


def step_seconds(checkout: Path, recipe: str, steps: int, folder: Path) -> float:
    """Return the median CPU time of a step, in seconds."""
    words = [
        "training.precision=fp32",
        "training.validate_every=0",
        "data.fold=null",
        f"training.iterations={steps + SKIPPED}",
    ]
    environment = {
        **os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "WSSEG_THREADS": "1",
        "WSSEG_CACHE": str(folder / f"cache_{checkout.name}"), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }  # fmt: skip
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    file = checkout / "recipes" / f"{recipe}.yaml"
    command = [sys.executable, "-c", CHILD, str(file), str(run), *words]
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return statistics.median(float(text) for text in ended.stdout.split()[SKIPPED - 1 :])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--recipe", default="npc_scribble")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    pairs = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(options.pairs):
            checkouts = (options.before.resolve(), options.after.resolve())
            pair = [step_seconds(c, options.recipe, options.steps, Path(name)) for c in checkouts]
            pairs.append(pair)
            sys.stdout.write(f"before {pair[0]:.4f} s, after {pair[1]:.4f} s, ratio {pair[1] / pair[0]:.4f}\n")
            sys.stdout.flush()
    ratio = statistics.median(after / before for before, after in pairs)
    sys.stdout.write(f"{options.recipe}: {len(pairs)} pairs, median ratio {ratio:.4f}\n")


if __name__ == "__main__":
    main()
