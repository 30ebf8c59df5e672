"""Repeat whole runs of a small recipe and compare each with the first: `python tests/benchmarks/repeat_runs.py 60`.

Every run is a process of its own, forked after all imports, with a new cache of its own, so it preprocesses, trains,
predicts and scores anew. Runs are compared by `wsseg diff`: batches, losses and gradients of every iteration, and the
final weights. Every third run is stopped by SIGTERM at a random iteration and resumed.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from wsseg.commands.diff import diff
from wsseg.commands.train import train
from wsseg.core.reporter import Silent
from wsseg.core.terminal import Terminal

WORDS = [
    "training.precision=fp32", "training.checkpoint_every=4", "training.validate_every=0", "prediction.mirror=false",
    "data.patch_size=[24,24,24]", "data.spacing_mm=[5,5,5]",
]  # fmt: skip


def in_child(work) -> int:
    """Run a function in a forked process and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            work()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def whole_run(recipe: Path, run: Path, words: list[str], stop_at: int | None) -> None:
    """Train in this process; `stop_at` sends SIGTERM to it at that iteration."""
    os.environ["WSSEG_CACHE"] = str(run.with_name(f"{run.name}_cache"))
    if stop_at is not None:
        from wsseg.training.iterations import Iterations

        step = Iterations.step

        def stopping(self, iteration):
            if iteration == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self, iteration)

        Iterations.step = stopping
    train(recipe, words, run, True, Silent())


def main() -> int:
    """Repeat the runs and print how many differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/npc_scribble.yaml"))
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("words", nargs="*", help="KEY=VALUE for the recipe")
    options = parser.parse_args()
    words = [*WORDS, f"training.iterations={options.iterations}", *options.words]
    folder, differing, started = Path(tempfile.mkdtemp(prefix="repeat_runs_")), 0, time.monotonic()
    os.environ["MLFLOW_TRACKING_URI"] = f"file:{folder / 'mlflow'}"
    draw = random.Random(0)
    for n in range(options.runs):
        run = folder / f"run_{n:03d}"
        stop_at = draw.randrange(1, options.iterations - 1) if n % 3 == 2 else None
        codes = [in_child(lambda run=run, at=stop_at: whole_run(options.recipe, run, words, at))]
        if stop_at is not None:
            codes.append(in_child(lambda run=run: whole_run(options.recipe, run, words, None)))
        equal = codes == ([0] if stop_at is None else [143, 0]) and diff(folder / "run_000", run, Silent())
        if not equal:
            differing += 1
            sys.stdout.write(f"{run}: exit codes {codes}, stopped at {stop_at}\n")
            diff(folder / "run_000", run, Terminal())
        sys.stdout.write(f"{n + 1} runs, {differing} differ, {time.monotonic() - started:.0f} s\n")
        sys.stdout.flush()
    return int(differing > 0)


if __name__ == "__main__":
    raise SystemExit(main())
