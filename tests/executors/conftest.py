"""A small program in place of a training, tasks that run it, and helpers that kill its processes."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wsseg.executors.tasks import Task

WAIT_S = 120
PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path

folder, kind = Path(sys.argv[1]), sys.argv[2]
ids = [os.getpid()]
while ids[-1] > 1:  # the attempt's process, the executor's worker, its parent, ...
    ids.append(int(Path(f"/proc/{ids[-1]}/stat").read_text().rsplit(")", 1)[1].split()[1]))
names = ("OMP_NUM_THREADS", "WSSEG_THREADS", "WSSEG_TEST", "CUDA_VISIBLE_DEVICES")
variables = {name: os.environ.get(name) for name in names}
begun = {"ids": ids, "cores": sorted(os.sched_getaffinity(0)), **variables}
with (folder / "tries").open("a") as file:
    file.write(json.dumps(begun) + "\\n")
tries = len((folder / "tries").read_text().splitlines())
print("try", tries, flush=True)
if kind == "bad":
    print("error: patch_size: is odd\\nerror: lr: is negative", file=sys.stderr)
    sys.exit(2)
if kind == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "long" and tries == 1:
    time.sleep(600)
while kind.startswith("after ") and not Path(kind.removeprefix("after ")).exists():
    time.sleep(0.05)
if kind != "forgets":
    (folder / "done").write_text("")
"""


@pytest.fixture(autouse=True)
def handle_ctrl_c() -> Iterator[None]:
    """Restore SIGINT, which a shell ignores in background jobs and their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def program() -> tuple[str, ...]:
    return (sys.executable, "-c", PROGRAM)


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., Task]:
    def make(name: str, *kinds: str) -> Task:
        folder = tmp_path / name
        return Task(name, tuple((str(folder), kind) for kind in kinds or ("quick",)), folder, folder / "done")

    return make


@pytest.fixture
def tries() -> Callable[[Task], list[dict[str, Any]]]:
    """Return what each started attempt at a task has written about itself."""

    def read(task: Task) -> list[dict[str, Any]]:
        path = task.folder / "tries"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    return read


@pytest.fixture
def when_begun(tries) -> Iterator[Callable[..., None]]:
    """Return a function that calls another, in a thread, once the first attempt at a task has started."""
    threads: list[threading.Thread] = []

    def wait(task: Task, act: Callable[[dict[str, Any]], None]) -> None:
        def look() -> None:
            until = time.monotonic() + WAIT_S
            while not tries(task) and time.monotonic() < until:
                time.sleep(0.05)
            act(tries(task)[0])

        threads.append(threading.Thread(target=look))
        threads[-1].start()

    yield wait
    for thread in threads:
        thread.join()


@pytest.fixture
def kill() -> Callable[[int], Callable[[dict[str, Any]], None]]:
    """Return a maker of killers: of the step (0), of the attempt's process (1), of the executor's worker (2)."""
    return lambda whom: lambda begun: os.kill(begun["ids"][whom], signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def wait_for_the_end_of() -> Callable[[int], bool]:
    def wait(pid: int) -> bool:
        until = time.monotonic() + WAIT_S
        while alive(pid) and time.monotonic() < until:
            time.sleep(0.05)
        return not alive(pid)

    return wait


class Listener:
    """A Reporter that keeps the lines and the notes of its progress bar."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.reached: list[float] = []
        self.began: tuple[int, int] | None = None

    def say(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def progress(self, what: str, total: int, done: int = 0) -> Iterator["Listener"]:
        self.began = (total, done)
        yield self

    def reach(self, done: float, note: str = "") -> None:
        self.notes.append(note)
        self.reached.append(done)


@pytest.fixture
def listener() -> Listener:
    return Listener()
