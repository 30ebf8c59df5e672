"""Sends runs on disk to a store: missing runs, the rest of incomplete ones, and parent-child relations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wsseg.core.errors import DataError
from wsseg.core.reporter import Progress, Reporter
from wsseg.tracking.address import is_server, public, reason, store_address
from wsseg.tracking.lines import read_lines, state_of
from wsseg.tracking.mlflow_store import MlflowStore
from wsseg.tracking.pages import viewing_instructions
from wsseg.tracking.record import RECORD, children_of, identity, record_lock
from wsseg.tracking.sending import Sender, unsent

PATIENCE_S = 60
"""Time limit for one answer of a server; longer than in training, as only the user waits for it."""
KINDS = ("https://", "http://", "sqlite:///")
COLUMNS = ("run", "in MLflow", "numbers", "files", "files refused", "ended as")


def sync(paths: Sequence[Path], uri: str | None, report: Reporter) -> None:
    """Send finished and interrupted runs to a store, so that it holds everything in their records exactly once.

    A run that the store has in part is completed; an interrupted transfer continues where it stopped. The children of a
    run are sent with it. In the directory of a run, only `mlflow.json` and a lock file are written.

    Args:
        paths: Directories of runs, or folders that contain runs at any depth.
        uri: Address of the store, a server or a SQLite file; by default that of training.
        report: Shows progress and results.

    Raises:
        DataError: A path holds no run, or the store cannot be reached: nothing was sent. Or a run is being written, or
            the store rejected part of it: the other runs were sent.
    """
    records = _records(paths)
    common = Path(os.path.commonpath([record.parent.parent for record in records])).parent
    store = _connect(store_address(uri))
    sent: dict[Path, Sender] = {}
    rows: list[list[str]] = []
    faults: list[str] = []
    with report.progress("sending", sum(unsent(record.parent, store.uri) for record in records)) as bar:
        for record in records:
            sender = Sender(record, store, report.say)
            with _collecting_errors(record, store, faults), record_lock(record) as locked:
                if not locked:
                    raise BlockingIOError("another process is writing or sending it")
                if fault := state_of(record).fault:
                    report.say(fault)
                rows.append(_send(record.parent.relative_to(common).as_posix(), sender, bar))
                sent[record] = sender
    for record, sender in sent.items():  # now that the store has all of them
        with _collecting_errors(record, store, faults):
            missing = sender.link_children(search=True)
            if missing:
                report.say(
                    f"{record.parent}: the store lacks {len(missing)} of its child runs (e.g. {missing[0]}); sync them"
                )
    report.table(f"sent to {public(store.uri)}", COLUMNS, rows)
    for sender in sent.values():
        if sender.run_ids and (sender.children or len(sent) == 1):
            report.say(viewing_instructions(store.uri, sender.run_ids, tuple(sender.children.values())))
    if faults:
        raise DataError(faults)


@contextmanager
def _collecting_errors(record: Path, store: MlflowStore, faults: list[str]) -> Iterator[None]:
    """Turn any error with one run into a fault, so that the others are still sent."""
    try:
        yield
    except Exception as error:  # anything that MLflow, its database, the network or the disk raises
        cause = reason(error, store.uri)
        faults.append(f"{record.parent}: was not sent completely ({cause}); repeat the command to continue")


def _records(paths: Sequence[Path]) -> list[Path]:
    """Return the records of all runs at or below the paths and of their children, ordered by start."""
    faults: list[str] = []
    started: dict[Path, str] = {}
    for path in paths:
        pending = sorted(path.rglob(RECORD))
        if not pending:
            faults.append(f"{path}: contains no run (no {RECORD} at any depth); name the directory of a run")
        while pending:
            record = pending.pop().resolve()
            first = next(read_lines(record), None)
            if first is None:
                faults.append(f"{record}: has no readable line; delete the directory if the run never started")
            elif record not in started:
                started[record] = first[1]["time"]
                pending += [
                    run_dir / RECORD for child, run_dir in children_of(record).items()
                    if (run_dir / RECORD).is_file() and identity(run_dir / RECORD) == child  # else it is another run
                ]  # fmt: skip
    if faults:
        raise DataError(faults)
    return sorted(started, key=lambda record: (started[record], record))


def _connect(uri: str) -> MlflowStore:
    """Return the store at an address, after connecting to it."""
    if not uri.startswith(KINDS):
        raise DataError(
            f"{public(uri)}: not the address of a store, expected one that begins with {' or '.join(KINDS)}"
        )
    if is_server(uri):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE_S))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    store = MlflowStore(uri)
    try:
        store.connect()
    except Exception as error:  # anything that MLflow, its database or the network raises
        raise DataError(
            f"MLflow at {public(uri)} cannot be reached ({reason(error, uri)}); check that it is running"
        ) from error
    return store


def _send(name: str, sender: Sender, bar: Progress) -> list[str]:
    """Send a run, and return its row of the table."""
    before = sender.run_ids, sender.sent
    sender.send(lambda file: bar.advance(f"{name} {file}"))
    ended = sender.conclude()
    state = "complete before" if before == (sender.run_ids, sender.sent) else "completed"
    counts = (sender.numbers, sender.files, len(sender.refused))
    return [name, "new" if sender.created else state, *map(str, counts), ended]
