"""Runs wsseg commands in forks of one process that has imported everything: a start takes 0.05 s instead of 5 s.

    python fork_server.py       reads one JSON request a line on stdin, answers with one JSON line

Requests: {"words": [...], "env": {...}, "output": FILE, "fault": {...}} starts a command and answers with its pid,
{"poll": PID} answers with its exit code, negative for a signal, or null while it runs. `fault` is an injected fault:

    {"kill_at": N}          SIGKILL just before the N-th of the calls that make a file durable: fsync, rename
    {"full_at": [N, ...]}   "no space left" at these calls; {"full_from": N} at all from the N-th on
    {"step": N, "raises": "memory" | "cuda memory" | "cuda" | "kill"}   the backward pass of step N fails
    {"no_passwd": true}     the user has no entry in /etc/passwd
    {"audit": FILE, "allowed": FOLDER}   writes down every write outside of the folder, every process but git, every
                            unpickled object and every file of code that is run but lies neither in Python nor in wsseg
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def preload() -> None:
    """Import what a training imports."""
    import matplotlib.figure
    import mlflow  # noqa: F401
    import monai.inferers
    import monai.losses  # noqa: F401
    import torch

    import wsseg.commands.predict
    import wsseg.commands.train
    import wsseg.core.terminal  # noqa: F401
    from wsseg.tracking.mlflow_store import MlflowStore

    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # imports torch._dynamo
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    with suppress(Exception):  # nothing listens there, but the client of MLflow is imported
        MlflowStore("http://127.0.0.1:9").connect()
    matplotlib.figure.Figure().text(0, 0, "a").get_window_extent()  # reads the fonts


def inject(fault: dict[str, Any]) -> None:
    """Replace the system calls by ones that fail as the fault says."""
    calls = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == fault.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)
            if calls in fault.get("full_at", ()) or calls >= fault.get("full_from", sys.maxsize):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "checkpoint")
            return original(*arguments, **options)

        return call

    if "step" in fault:
        fail_at_step(fault["step"], fault["raises"])
    elif fault.get("no_passwd"):
        without_passwd()
    elif fault:
        for name in ("fsync", "replace", "rename"):
            setattr(os, name, counted(getattr(os, name)))


def fail_at_step(step: int, kind: str) -> None:
    """Let the backward pass of a step fail as hardware does."""
    import torch

    errors: dict[str, Exception] = {
        "memory": MemoryError("Unable to allocate 8.00 GiB for an array"),
        "cuda memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        "cuda": RuntimeError("CUDA error: unspecified launch failure"),
    }
    original, calls = torch.Tensor.backward, 0

    def backward(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == step and kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if calls == step:
            raise errors[kind]
        return original(*arguments, **options)

    torch.Tensor.backward = backward  # type: ignore[method-assign]


def without_passwd() -> None:
    """Let the look-up of the user's entry fail, as in a container with a user id of its own."""
    import pwd

    def missing(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    pwd.getpwuid = missing  # type: ignore[assignment]
    os.environ.pop("HOME", None)


WRITES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.chmod",
    "os.truncate",
    "os.chown",
    "os.utime",
    "shutil.rmtree",
    "shutil.move",
    "shutil.copyfile",
    "shutil.copytree",
}
STARTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn", "os.startfile"}
CODE = (str(Path(os.__file__).parent), str(Path(__file__).parents[2] / "wsseg"))


def audit(file: str, allowed: str) -> None:
    """Write forbidden events of this process into a file."""
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    inside = (os.path.realpath(allowed), "/dev/null", "/dev/shm")
    busy = False

    def lies_inside(path: Any) -> bool:
        if isinstance(path, int):
            return True
        parent = os.path.split(os.fsdecode(path))[0]  # pathlib raises audit events of its own
        return os.path.realpath(parent).startswith(inside)

    def forbidden(event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, mode, flags = arguments
            writes = (
                bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if flags else bool(set(mode or "") & set("wax+"))
            )
            return writes and path is not None and os.fsdecode(path) != "/dev/null" and not lies_inside(path)
        if event in WRITES:
            paths = [a for a in arguments if isinstance(a, (str, bytes, os.PathLike))]
            return not all(map(lies_inside, paths[1:] if event.startswith("shutil.copy") else paths))
        if event == "subprocess.Popen":
            return os.path.split(os.fsdecode(arguments[0]))[1] != "git"
        if event == "exec":
            name = getattr(arguments[0], "co_filename", "<string>")
            return not name.startswith((*CODE, "<", *sys.path[1:]))
        return event in STARTS or event == "pickle.find_class"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if not busy:
            busy = True
            try:
                if forbidden(event, arguments):
                    os.write(log, f"{event} {arguments!r}\n".encode(errors="replace"))
            finally:
                busy = False

    sys.addaudithook(hook)


def start(request: dict[str, Any]) -> int:
    """Fork, and run the command of a request in the child."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.environ.update(request["env"])
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(output, stream)
        fault = request.get("fault", {})
        if "audit" in fault:
            audit(fault["audit"], fault["allowed"])
        else:
            inject(fault)
        sys.argv = ["wsseg", *request["words"]]
        from wsseg.cli import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def poll(pid: int) -> int | None:
    """Return the exit code of a child that has ended."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def main() -> None:
    """Answer requests until stdin ends."""
    preload()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    answers.write("ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        answer = poll(request["poll"]) if "poll" in request else start(request)
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
