"""Kill a process that writes checkpoints, COUNT times at random moments, and print what a resumed run would find.

python checkpoint_kills.py FOLDER COUNT
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from wsseg.core.files import sweep
from wsseg.training.checkpoint import Checkpoints


def write(folder: Path) -> None:
    """Write checkpoints until this process is killed."""
    checkpoints = Checkpoints(folder)
    for iteration in range(1, 10**7):
        checkpoints.save(iteration, {"a": torch.full((4000,), float(iteration))}, {"precision": "fp32"})


def main() -> None:
    """Print "OK" for each kill after which the newest checkpoint is whole and no temporary file stays."""
    chance = random.Random(0)
    for n in range(int(sys.argv[2])):
        folder = Path(sys.argv[1]) / str(n)
        folder.mkdir(parents=True)
        child = os.fork()
        if child == 0:
            write(folder)
        while not list(folder.glob("iteration_*.json")):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        faults: list[str] = []
        snapshot = Checkpoints(folder).newest(faults)
        last = max(int(path.stem.rpartition("_")[2]) for path in folder.glob("iteration_*.json"))
        whole = snapshot is not None and snapshot.iteration == last and bool((snapshot.tensors["a"] == last).all())
        sweep(folder)
        left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
        sys.stdout.write("OK\n" if whole and not faults and not left else f"{last} {snapshot} {faults} {left}\n")


if __name__ == "__main__":
    main()
