"""A run's record, sent on to a store by a thread in the background that nothing waits for.

The record is the queue: the thread reads what was appended to it. So training waits for no server, nothing piles up in
memory, nothing is dropped, and a store that was away is later sent what it missed, by this run or when it is resumed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wsseg.tracking.address import is_server, public, reason
from wsseg.tracking.record import read_lines
from wsseg.tracking.sending import Kept, Sender, Store

EVERY_S, RETRY_S, PROBE_S = 1.0, 5.0, 60.0
"""Until the next sending: as a rule, after a first failure, after further failures."""
PATIENCE_S, LOCAL_PATIENCE_S = 10.0, 120.0
"""How long the end of a run waits for a server, and for a local store (a new one takes many seconds to set up)."""


class Relay:
    """Sends a record on while it is being written."""

    def __init__(self, record: Path, store: Store, say: Callable[[str], None], meanwhile: Callable[[], None]) -> None:
        """Prepare; `say` and, between two sendings, `meanwhile` are called from the thread."""
        self._record, self._store, self._say, self._meanwhile = record, store, say, meanwhile
        self._trouble, self._silent = False, False
        self._sender = Sender(record, store, self._speak)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    @property
    def kept(self) -> Kept | None:
        """The run in the store; None as long as it is not there."""
        return self._sender.kept

    @property
    def children(self) -> tuple[Kept, ...]:
        """The runs that stand below it there."""
        return tuple(self._sender.children.values())

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send the rest, and wait for that, but not for ever; files get a second a megabyte."""
        waiting = 0
        for _, line in read_lines(self._record, self._sender.sent):
            with suppress(OSError):
                waiting += (self._record.parent / line["file"]).stat().st_size if "file" in line else 0
        self._stopping.set()
        self._thread.join((PATIENCE_S if is_server(self._store.uri) else LOCAL_PATIENCE_S) + waiting / 1e6)
        if self._thread.is_alive():
            self._tell(TimeoutError("it is too slow"))
        self._silent = True

    def _run(self) -> None:
        """Send again and again until the end. No fault leaves this thread."""
        failures, pause, stopping = 0, 0.0, False
        while not stopping:
            stopping = self._stopping.wait(pause)
            try:
                self._sender.send()
                lacking = self._sender.adopt(search=stopping)
            except Exception as error:  # whatever a store, its database or the network throws
                self._sender.disconnect()
                failures, pause = failures + 1, PROBE_S if failures else RETRY_S
                if failures > 1 or stopping:
                    self._tell(error)
            else:
                failures, pause = 0, EVERY_S
                self._tell(None)
                if lacking and stopping:
                    self._speak(
                        f"MLflow lacks {len(lacking)} child runs of this run (e.g. {lacking[0]}): `wsseg sync` them"
                    )
            if not self._stopping.is_set():
                self._meanwhile()

    def _tell(self, error: Exception | None) -> None:
        """Say once that the store lacks something, and once that this is over."""
        if self._trouble == (error is not None):
            return
        self._trouble = error is not None
        store = f"MLflow at {public(self._store.uri)}"
        if error is None:
            self._speak(f"{store} has caught up with this run")
        else:
            why = reason(error, self._store.uri)
            self._speak(f"{store} lacks data of this run ({why}); the record is complete: {self._record}")

    def _speak(self, text: str) -> None:
        if not self._silent:
            self._say(text)
