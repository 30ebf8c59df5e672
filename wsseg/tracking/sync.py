"""Runs on disk, sent to a store: those it lacks, the rest of those it has in part, and what belongs below what."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wsseg.core.errors import DataError
from wsseg.core.reporter import Progress, Reporter
from wsseg.tracking.address import is_server, public, reason, store_address
from wsseg.tracking.mlflow_store import MlflowStore
from wsseg.tracking.pages import how_to_look
from wsseg.tracking.record import RECORD, adoptions, claimed, read_lines
from wsseg.tracking.sending import Sender, unsent

PATIENCE_S = 60
"""How long a server may take for one answer: here nobody waits for it but the person at the keyboard."""
KINDS = ("https://", "http://", "sqlite:///")
COLUMNS = ("run", "in MLflow", "numbers", "files", "files refused", "ended as")


def sync(paths: Sequence[Path], uri: str | None, report: Reporter) -> None:
    """Send finished and interrupted runs to a store, so that it has all that their records hold, once.

    A run that the store has is completed, not doubled; a sending that was stopped goes on where it was. The children of
    a run go with it. In a run's directory nothing but `mlflow.json` changes.

    Args:
        paths: Directories of runs, or folders that hold some, however deep.
        uri: The store's address, a server or a SQLite file; by default that which training uses.
        report: Tells the person at the keyboard.

    Raises:
        DataError: A path holds no run, or the store cannot be reached: nothing was sent. A run is being written, or the
            store did not take all of it: the others were sent.
    """
    records = _records(paths)
    above = Path(os.path.commonpath([record.parent.parent for record in records])).parent
    store = _reach(store_address(uri))
    sent: dict[Path, Sender] = {}
    rows: list[list[str]] = []
    faults: list[str] = []
    with report.progress("sending", sum(unsent(record.parent, store.uri) for record in records)) as bar:
        for record in records:
            sender = Sender(record, store, report.say)
            with _telling(record, store, faults), claimed(record) as free:
                if not free:
                    raise BlockingIOError("a process is writing or sending it")
                rows.append(_send(record.parent.relative_to(above).as_posix(), sender, bar))
                sent[record] = sender
    for record, sender in sent.items():  # now that all are there
        with _telling(record, store, faults):
            lacking = sender.adopt(search=True)
            if lacking:
                report.say(f"{record.parent}: {len(lacking)} of its runs are not there (e.g. {lacking[0]}); sync them")
    report.table(f"sent to {public(store.uri)}", COLUMNS, rows)
    for sender in sent.values():
        if sender.kept and (sender.children or len(sent) == 1):
            report.say(how_to_look(store.uri, sender.kept, tuple(sender.children.values())))
    if faults:
        raise DataError(faults)


@contextmanager
def _telling(record: Path, store: MlflowStore, faults: list[str]) -> Iterator[None]:
    """Turn whatever goes wrong with one run into a fault, so that the others are sent."""
    try:
        yield
    except Exception as error:  # whatever MLflow, its database, the network or the disk throws
        why = reason(error, store.uri)
        faults.append(f"{record.parent}: not all of it was sent ({why}); repeat the command later, it goes on there")


def _records(paths: Sequence[Path]) -> list[Path]:
    """Return the records of all runs at or below the paths and of their children, in the order in which they began."""
    faults: list[str] = []
    found: dict[Path, str] = {}
    for path in paths:
        waiting = sorted(path.rglob(RECORD))
        if not waiting:
            faults.append(f"{path}: holds no run, and no folder in it does (no {RECORD}); name a run's directory")
        while waiting:
            record = waiting.pop().resolve()
            first = next(read_lines(record), None)
            if first is None:
                faults.append(f"{record}: nothing can be read there; delete the directory if the run never began")
            elif record not in found:
                found[record] = first[1]["time"]
                waiting += [child / RECORD for child in adoptions(record).values() if (child / RECORD).is_file()]
    if faults:
        raise DataError(faults)
    return sorted(found, key=lambda record: (found[record], record))


def _reach(uri: str) -> MlflowStore:
    """Return the store at an address, reached once."""
    if not uri.startswith(KINDS):
        raise DataError(f"{public(uri)}: no store for runs; its address has to begin with {' or '.join(KINDS)}")
    if is_server(uri):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE_S))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    store = MlflowStore(uri)
    try:
        store.connect()
    except Exception as error:  # whatever MLflow, its database or the network throws
        raise DataError(
            f"MLflow at {public(uri)} cannot be reached ({reason(error, uri)}); see that it is up"
        ) from error
    return store


def _send(name: str, sender: Sender, bar: Progress) -> list[str]:
    """Send a run; return its row of the table."""
    before = sender.kept, sender.sent
    sender.send(lambda file: bar.advance(f"{name} {file}"))
    ended = sender.conclude()
    had = "had it all" if before == (sender.kept, sender.sent) else "completed"
    counts = (sender.numbers, sender.files, len(sender.refused))
    return [name, "new" if sender.created else had, *map(str, counts), ended]
