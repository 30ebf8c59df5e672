"""One try at one task, in a process that every engine starts: `python -m wsseg.executors.attempt TASK`.

It stands between an engine's worker and the steps, so that a try ends with its worker (a training that outlives its
worker would write into the folder beside the next try's), and so that the folder is one process's at a time.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsseg.executors.tasks import EXIT_USER_ERROR, Task

PATIENCE_S = 10.0
"""So long a step that was asked to stop may take for it; then it is killed, and goes on from its last checkpoint."""
STOP_S = PATIENCE_S + 5
"""So long a try may take for it, which waits for its step."""
LOOK_S = 0.2
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def begin(
    task: Task, program: Sequence[str], environment: Mapping[str, str], place: Path, cores: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start one try.

    Args:
        task: The task; its relative paths, and those in its words, are below `place`.
        program: The words before those of a step; empty for `python -m wsseg`.
        environment: Laid over this process's own.
        place: The folder in which the command was typed.
        cores: The cores it may use; empty for all.

    Returns:
        The process, in a session of its own: a Ctrl-C or a signal meant for the worker's group does not hit it.
    """
    said = {
        "steps": task.steps, "folder": str(task.folder), "done": str(task.done), "cores": list(cores),
        "program": list(program) or [sys.executable, "-m", "wsseg"], "parent": os.getpid(),
    }  # fmt: skip
    folder = place / task.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "wsseg.executors.attempt", json.dumps(said)],
            cwd=place, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def run_attempt(task: Task, program: Sequence[str], environment: Mapping[str, str], place: Path) -> int:
    """Make one try in the process of a cluster's worker, and return its exit code; arguments as those of `begin`.

    Raises:
        FileNotFoundError: The worker's machine has no such `place`; nothing is made there.
    """
    if not place.is_dir():
        raise FileNotFoundError(f"{place} is not there on {socket.gethostname()}")
    process = begin(task, program, environment, place)
    try:
        while process.poll() is None:  # not `wait`: it would not notice that Ray wants to end the task
            time.sleep(LOOK_S)
        return exit_code(process.returncode)
    finally:
        stop([process], STOP_S)


def exit_code(code: int) -> int:
    """Return what a shell calls Python's -n for a process that signal n has killed: 128 + n."""
    return code if code >= 0 else 128 - code


def stop(processes: Sequence[subprocess.Popen[bytes]], patience_s: float) -> None:
    """Ask processes to stop, all at once, and kill those that have not done so in time."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + patience_s
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> int:
    """Do the steps of the task that the command line holds."""
    said = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM's word to the worker; it reaches all processes of a job
    _end_with_parent(signal.SIGTERM)
    if os.getppid() != said["parent"]:
        return 128 + signal.SIGTERM  # it was gone before this process could say that it wants to know
    if said["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, said["cores"])
    with _alone_in(Path(said["folder"])) as lock:
        return _conduct(said, lock)


def _conduct(said: Mapping[str, Any], lock: int) -> int:
    done = Path(said["done"])
    if done.is_file():
        return 0  # finished by another process, while this one waited for the folder
    for words in said["steps"]:
        _note(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(words)}")
        # The lock is the step's too: should this process be killed, the folder is free once the step is gone as well.
        process = subprocess.Popen(
            [*said["program"], *words], pass_fds=(lock,), preexec_fn=lambda: _end_with_parent(signal.SIGKILL)
        )
        try:
            code = exit_code(process.wait())
        finally:
            stop([process], PATIENCE_S)
        if code:
            _note(f"== ended with exit code {code}")
            return code
    if not done.is_file():
        _note(f"error: {done}: was not written, though every step ended well")
        return EXIT_USER_ERROR
    return 0


@contextmanager
def _alone_in(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, and hand it out; wait for whoever holds it."""
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _note("== waiting for another process that is at work in this folder")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            _note(f"== {folder} cannot be locked ({error.strerror}): see that nobody else works in it")
        yield lock.fileno()


def _end_with_parent(number: int) -> None:
    """Ask Linux for a signal when the parent dies, however it does."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def _note(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
