"""Steps of a long comparison: done once, kept in log files, gone on with after a stop."""

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
    """A command line, what its bar counts, and how far it has come: `done()` of `total`."""

    words: Sequence[str | Path]
    total: int = 1
    done: Callable[[], int] = lambda: 0
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Steps:
    """The steps of one out folder: `done/NAME.json` says that a step was done and what it gave, `logs/` what was said.

    Attributes:
        folder: The out folder.
        report: Told what is done.
    """

    folder: Path
    report: Reporter

    def once(self, name: str, work: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """Do the work unless it was done before; return what it gave."""
        marker = self.folder / "done" / f"{name}.json"
        if marker.is_file():
            found: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
            self.report.say(f"{name}: done before")
            return found
        given = work() or {}
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_safely(marker, json.dumps(given, indent=1).encode())
        return given

    def run(self, name: str, command: Command) -> float:
        """Run a command to its end with a bar, and return its seconds.

        Raises:
            FaultsError: It cannot be started, or ends with a fault; the message names the log file.
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
                # Its workers end with it, also where it crashed.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait()
            for _ in range(shown, command.total if process.returncode == 0 else 0):
                bar.advance()
        if process.returncode:
            last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()][-1]
            raise FaultsError(f"{name}: ended with code {process.returncode}, see {log}; its last line: {last}")
        return time.monotonic() - began

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Keep what the folder was begun with. Raises FaultsError where it was begun with something else."""
        path = self.folder / "settings.json"
        wanted = json.loads(json.dumps(settings))
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            old, new = flat(before), flat(wanted)
            changed = [f"{k} was {old.get(k)}, is {new.get(k)}" for k in {**old, **new} if old.get(k) != new.get(k)]
            if changed:
                raise FaultsError(f"{self.folder}: was begun otherwise ({'; '.join(changed)}): choose another --out")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_safely(path, json.dumps(wanted, indent=1).encode())


def read_record(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a training's record in order; of what was done twice (after a stop) the last counts."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    by_place = {entry["done"]: entry for entry in (json.loads(line) for line in lines if line.endswith("}"))}
    return [by_place[place] for place in sorted(by_place)]


def done_so_far(record: Path) -> int:
    """Return how many iterations of a training are in its record."""
    return max((int(entry["done"]) for entry in read_record(record)), default=0)


def summed(record: Path, iterations: int, parameters: int) -> dict[str, Any]:
    """Return the seconds of all iterations of a training. Raises FaultsError where some are not in its record."""
    entries = read_record(record)
    if not entries or entries[-1]["done"] != iterations:
        raise FaultsError(f"{record}: does not reach iteration {iterations}: begin again with another --out")
    return {"iterations": iterations, "seconds": sum(entry["seconds"] for entry in entries), "parameters": parameters}
