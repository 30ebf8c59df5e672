"""Steps of a long comparison: each is done once, writes a log file, and is skipped when the command is repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsseg.commands._run_folder import flat
from wsseg.core.errors import FaultsError
from wsseg.core.files import write_safely
from wsseg.core.reporter import Reporter


@dataclass(frozen=True)
class Command:
    """A command line and its progress: `done()` of `total`."""

    words: Sequence[str | Path]
    total: int = 1
    done: Callable[[], int] = lambda: 0
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Steps:
    """The steps of one folder: `done/NAME.json` has the result of a finished step, `logs/NAME.log` its output.

    Attributes:
        folder: Where all files are written.
        report: Shows progress.
    """

    folder: Path
    report: Reporter

    def once(self, name: str, work: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """Do the work unless it was finished before; return its result."""
        marker = self.folder / "done" / f"{name}.json"
        if marker.is_file():
            stored: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
            self.report.say(f"{name}: finished before")
            return stored
        result = work() or {}
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_safely(marker, json.dumps(result, indent=1).encode())
        return result

    def run(self, name: str, command: Command) -> float:
        """Run a command with a progress bar, and return its seconds.

        Raises:
            FaultsError: The command cannot be started or fails; the message names the log file.
        """
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [str(word) for word in command.words]
        began = time.monotonic()
        with log.open("a", encoding="utf-8") as file, self.report.progress(name, command.total) as bar:
            file.write(f"$ {' '.join(words)}\n")
            file.flush()
            try:
                process = subprocess.Popen(
                    words, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **(command.environment or {})},
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise FaultsError(f"{name}: {words[0]} cannot be started ({error})") from error
            shown = 0
            try:
                while process.poll() is None:
                    time.sleep(0.5)
                    while shown < min(command.done(), command.total):
                        shown += 1
                        bar.advance()
            finally:
                # End its worker processes too, also after a crash.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait()
            for _ in range(shown, command.total if process.returncode == 0 else 0):
                bar.advance()
        if process.returncode:
            last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()][-1]
            raise FaultsError(f"{name}: failed with exit code {process.returncode}; last line of {log}: {last}")
        return time.monotonic() - began

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Store the settings of the folder. Raises FaultsError if the folder has other settings."""
        path = self.folder / "settings.json"
        wanted = json.loads(json.dumps(settings))
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            old, new = flat(before), flat(wanted)
            changed = [f"{k} was {old.get(k)}, is {new.get(k)}" for k in {**old, **new} if old.get(k) != new.get(k)]
            if changed:
                raise FaultsError(f"{self.folder}: has other settings ({'; '.join(changed)}); choose another --out")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_safely(path, json.dumps(wanted, indent=1).encode())


def read_record(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a training's record in order; the last line counts for an iteration that was repeated."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    by_iteration = {entry["done"]: entry for entry in (json.loads(line) for line in lines if line.endswith("}"))}
    return [by_iteration[n] for n in sorted(by_iteration)]


def done_so_far(record: Path) -> int:
    """Return the number of iterations in a training's record."""
    return max((int(entry["done"]) for entry in read_record(record)), default=0)


def summed(record: Path, iterations: int, parameters: int) -> dict[str, Any]:
    """Return the seconds of all iterations of a training. Raises FaultsError if its record is not complete."""
    entries = read_record(record)
    if not entries or entries[-1]["done"] != iterations:
        raise FaultsError(f"{record}: does not reach iteration {iterations}; start again with another --out")
    return {"iterations": iterations, "seconds": sum(entry["seconds"] for entry in entries), "parameters": parameters}
