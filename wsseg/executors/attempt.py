"""One attempt at a task, in a process that every executor starts: `python -m wsseg.executors.attempt TASK`.

This process runs between the executor's worker and the steps. It makes sure that an attempt ends with its worker (a
training that outlives its worker would write to the same folder as the next attempt), and that only one process works
in a folder at a time.
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

from wsseg.core.plain_json import parse_json
from wsseg.executors.tasks import EXIT_USER_ERROR, POLL_S, Task

STEP_STOP_S = 20.0
"""Time for a step to exit after SIGTERM: a training ends its iteration and writes a checkpoint. Then it is killed."""
STOP_S = STEP_STOP_S + 5
"""Time for an attempt to exit after SIGTERM; it waits for its step."""
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def start_attempt(
    task: Task, program: Sequence[str], environment: Mapping[str, str], directory: Path, cores: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start one attempt.

    Args:
        task: The task; relative paths in it are relative to `directory`.
        program: Command that runs a step; empty for `python -m wsseg`.
        environment: Variables added to those of this process.
        directory: Working directory.
        cores: Cores it may use; empty for all.

    Returns:
        The process, in a session of its own, so that Ctrl-C and signals to the worker's group do not reach it.
    """
    request = {
        "steps": task.steps, "folder": str(task.folder), "done": str(task.done), "cores": list(cores),
        "program": list(program) or [sys.executable, "-m", "wsseg"], "parent": os.getpid(),
    }  # fmt: skip
    folder = directory / task.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "wsseg.executors.attempt", json.dumps(request)],
            cwd=directory, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def run_attempt(task: Task, program: Sequence[str], environment: Mapping[str, str], directory: Path) -> int:
    """Make one attempt from a cluster's worker and return its exit code; arguments as in `start_attempt`.

    Raises:
        FileNotFoundError: The worker's machine has no such `directory`; nothing is created there.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} does not exist on {socket.gethostname()}")
    process = start_attempt(task, program, environment, directory)
    try:
        while process.poll() is None:  # not `wait`, which would block Ray's cancellation of the task
            time.sleep(POLL_S)
        return shell_exit_code(process.returncode)
    finally:
        stop_processes([process], STOP_S)


def shell_exit_code(code: int) -> int:
    """Return the exit code as a shell reports it: 128 + n for a process killed by signal n (-n in Python)."""
    return code if code >= 0 else 128 - code


def stop_processes(processes: Sequence[subprocess.Popen[bytes]], timeout_s: float) -> None:
    """Send SIGTERM to all processes, and kill those that have not exited after `timeout_s`."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + timeout_s
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> int:
    """Run the steps of the task given as JSON on the command line."""
    request = parse_json(sys.argv[1])
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM's signal to the worker reaches all processes of a job
    # The same signal by another name: the step obeys it (a training writes a checkpoint), and this process follows.
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    _signal_at_parent_death(signal.SIGTERM)
    if os.getppid() != request["parent"]:
        return 128 + signal.SIGTERM  # the parent ended before the line above
    if request["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, request["cores"])
    with _folder_lock(Path(request["folder"])) as lock:
        return _run_steps(request, lock)


def _run_steps(request: Mapping[str, Any], lock: int) -> int:
    done_file = Path(request["done"])
    if done_file.is_file():
        return 0  # finished by another process while this one waited for the lock
    for words in request["steps"]:
        _log(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(words)}")
        # The step inherits the lock: if this process is killed, the folder stays locked until the step has ended too.
        process = subprocess.Popen(
            [*request["program"], *words],
            pass_fds=(lock,),
            preexec_fn=lambda: _signal_at_parent_death(signal.SIGKILL),
        )
        try:
            code = shell_exit_code(process.wait())
        finally:
            stop_processes([process], STEP_STOP_S)
        if code:
            _log(f"== ended with exit code {code}")
            return code
    if not done_file.is_file():
        _log(f"error: {done_file}: was not written, although every step succeeded")
        return EXIT_USER_ERROR
    return 0


@contextmanager
def _folder_lock(folder: Path) -> Iterator[int]:
    """Lock a folder, waiting for the process that holds the lock; yield the lock's file descriptor."""
    # flock and not filelock: the steps inherit the descriptor, and with it the lock.
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log("== waiting for another process that works in this folder")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            _log(f"== {folder} cannot be locked ({error.strerror}): make sure that no other process works in it")
        yield lock.fileno()


def _signal_at_parent_death(number: int) -> None:
    """Request a signal to this process when its parent ends for any reason (Linux only)."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def _log(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
