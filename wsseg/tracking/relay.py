"""A background thread that sends a run's record to a store.

The record is the queue: the thread reads the lines appended to it. Training never waits for a server, and no line is
lost: a store that was unreachable gets the missing lines later, or when the run is resumed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wsseg.tracking.address import is_server, public, reason
from wsseg.tracking.lines import read_lines
from wsseg.tracking.sending import RunIds, RunStore, Sender

EVERY_S, RETRY_S, PROBE_S = 1.0, 5.0, 60.0
"""Time until the next attempt: normally, after a first failure, after further failures."""
PATIENCE_S, LOCAL_PATIENCE_S = 10.0, 120.0
"""Longest wait at the end of a run for a server, and for a local store (which takes many seconds to set up)."""


class Relay:
    """Sends a record while it is being written."""

    def __init__(
        self, record: Path, store: RunStore, say: Callable[[str], None], after_attempt: Callable[[], None]
    ) -> None:
        """Create a relay; its thread calls `say` with messages, and `after_attempt` after each attempt."""
        self._record, self._store, self._say, self._after_attempt = record, store, say, after_attempt
        self._failing, self._silent = False, False
        self._sender = Sender(record, store, self._message)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    @property
    def run_ids(self) -> RunIds | None:
        """Ids of the run in the store; None until it is created."""
        return self._sender.run_ids

    @property
    def children(self) -> tuple[RunIds, ...]:
        """Ids of its children in the store."""
        return tuple(self._sender.children.values())

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send the rest, and wait for it within limits; each megabyte of files adds a second."""
        file_bytes = 0
        for _, line in read_lines(self._record, self._sender.sent):
            with suppress(OSError):
                file_bytes += (self._record.parent / line["file"]).stat().st_size if "file" in line else 0
        self._stopping.set()
        self._thread.join((PATIENCE_S if is_server(self._store.uri) else LOCAL_PATIENCE_S) + file_bytes / 1e6)
        if self._thread.is_alive():
            self._report(TimeoutError("it is too slow"))
        self._silent = True

    def _run(self) -> None:
        """Send until the end. No exception leaves this thread."""
        failures, pause, stopping = 0, 0.0, False
        while not stopping:
            stopping = self._stopping.wait(pause)
            try:
                self._sender.send()
                missing = self._sender.link_children(search=stopping)
            except Exception as error:  # anything that MLflow, its database or the network raises
                self._sender.disconnect()
                failures, pause = failures + 1, PROBE_S if failures else RETRY_S
                if failures > 1 or stopping:
                    self._report(error)
            else:
                failures, pause = 0, EVERY_S
                self._report(None)
                if missing and stopping:
                    self._message(
                        f"MLflow lacks {len(missing)} child runs of this run (e.g. {missing[0]}): `wsseg sync` them"
                    )
            if not self._stopping.is_set():
                self._after_attempt()

    def _report(self, error: Exception | None) -> None:
        """Report once that the store lacks data, and once that it has caught up."""
        if self._failing == (error is not None):
            return
        self._failing = error is not None
        store = f"MLflow at {public(self._store.uri)}"
        if error is None:
            self._message(f"{store} has caught up with this run")
        else:
            cause = reason(error, self._store.uri)
            self._message(f"{store} lacks data of this run ({cause}); the record is complete: {self._record}")

    def _message(self, text: str) -> None:
        if not self._silent:
            self._say(text)
