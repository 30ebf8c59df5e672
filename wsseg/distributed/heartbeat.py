"""Whether the others still live: every process of a training beats, and watches the others' beats."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BEAT_S, HASTE_S = 1.0, 0.1
SILENCE_S = 120.0
"""A process whose beat has stopped for so long is gone; WSSEG_SILENCE_S overrides it."""
SUSPICIOUS_SILENCE_S = 6.0
"""The same, once something has broken here that breaks when another process goes."""
GRACE_S = 5.0
"""So long the main thread has to end by itself; it cannot where it waits for a process that is gone."""
LINGER_S = 10.0
"""So long a process that ends stays, for the others to see why."""


class Store(Protocol):
    """Texts by name, the same for all processes; `multi_get` waits until each of the names is there."""

    def set(self, key: str, value: str) -> None:
        """Set a text."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Return texts."""


@dataclass(frozen=True)
class Peer:
    """One of the processes. `place` is where its pid means something: a host and a pid namespace."""

    rank: int
    world: int
    host: str
    pid: int
    place: str

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world} (host {self.host}, pid {self.pid})"


@dataclass(frozen=True)
class Verdict:
    """Why this process has to end: its exit code, and what it says then, if it has to say something."""

    code: int
    sentence: str = ""


class Heartbeat(threading.Thread):
    """Writes this process's state into the store about every second, and reads the others'.

    A state is a counter; when a process ends it is its exit code and a sentence for the others. A process is gone when
    its pid is (on the same node), or when its counter stands still for `silence_s`. Then, or when another has ended
    with a fault, there is a verdict. The main thread takes it, or after a few seconds the whole process ends here.

    Args:
        store: Where states lie; its calls raise RuntimeError when it does not answer.
        keeper: Who keeps the store, and is gone when it is.
        me: This process.
        peers: All processes.
        silence_s: See above.
    """

    def __init__(self, store: Store, keeper: str, me: Peer, peers: Sequence[Peer], silence_s: float) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.store, self.keeper, self.me, self.silence_s = store, keeper, me, silence_s
        self.others = {peer.rank: peer for peer in peers if peer.rank != me.rank}
        self.ended: dict[int, int] = {}
        """Exit codes of the processes that have said that they end."""
        self.lost: set[int] = set()
        self.verdict: Verdict | None = None
        self._wake, self._taken = threading.Event(), threading.Event()
        self._looked_into = False
        self._last: Verdict | None = None
        now = time.monotonic()
        self._heard = dict.fromkeys(self.others, ("", now))

    def take(self, wait_s: float, suspicious: bool = False) -> Verdict | None:
        """Return the verdict if there is one within `wait_s`, said; ending is then left to the main thread.

        Args:
            wait_s: How long to wait for one.
            suspicious: Something broke here that breaks when another process goes, so a short silence is enough.
        """
        if suspicious:
            self.silence_s = min(self.silence_s, SUSPICIOUS_SILENCE_S)
            wait_s, self._looked_into = 0 if self._looked_into else wait_s, True
        until = time.monotonic() + wait_s
        while self.verdict is None and time.monotonic() < until and not self._all_are_known():
            self._wake.set()
            time.sleep(HASTE_S)
        if self.verdict is not None and not self._taken.is_set():
            self._taken.set()
            _say(self.verdict)
        return self.verdict

    def end(self, verdict: Verdict) -> None:
        """Tell the others that this process ends, and why, and stay a moment until they know."""
        self._last = verdict
        self._taken.set()
        self._wake.set()
        self.join(LINGER_S + 2)

    def run(self) -> None:
        """Beat, look, and end the process when it must."""
        count, until = 0, float("inf")
        while time.monotonic() < until:
            count += 1
            last = self._last
            if last is not None:
                until = min(until, time.monotonic() + LINGER_S)
            try:
                self.store.set(f"state/{self.me.rank}", _state(count, last))
                found = self._look()
            except RuntimeError:  # torch's errors of a connection are such
                found = gone(self.keeper)
                self.lost = set(self.others)  # as far as can be told from here
            if last is not None and self._all_are_known():
                return
            if last is None and found is not None and self.verdict is None:
                self.verdict = found
                self._leave_if_nobody_else_does(found)
            self._wake.wait(HASTE_S if last else BEAT_S)
            self._wake.clear()

    def _look(self) -> Verdict | None:
        # Read after looking at the pids: a process may end in good order between the two.
        dead = {rank for rank, peer in self.others.items() if peer.place == self.me.place and not _lives(peer.pid)}
        ranks = [rank for rank in self.others if rank not in self.ended]
        states = self.store.multi_get([f"state/{rank}" for rank in ranks])
        now, found = time.monotonic(), None
        for rank, raw in zip(ranks, states, strict=True):
            text = raw.decode()
            state = json.loads(text)
            if state["code"] is not None:
                self.ended[rank] = state["code"]
                if state["code"]:
                    found = found or Verdict(state["code"], state["sentence"])
                continue
            if text != self._heard[rank][0]:
                self._heard[rank] = (text, now)
            if rank in dead or now - self._heard[rank][1] > self.silence_s:
                self.lost.add(rank)
                found = found or gone(str(self.others[rank]))
        return found

    def _all_are_known(self) -> bool:
        return len(self.lost.union(self.ended)) == len(self.others)

    def _leave_if_nobody_else_does(self, verdict: Verdict) -> None:
        if not self._taken.wait(GRACE_S):
            _say(verdict)
            try:
                self.store.set(f"state/{self.me.rank}", _state(0, verdict))
                time.sleep(0 if self._all_are_known() else 2 * BEAT_S)
            finally:
                os._exit(verdict.code)


def gone(who: str) -> Verdict:
    """Return what is said and done when another process is gone."""
    return Verdict(2, f"{who} is gone; resume with the same command and --resume")


def _say(verdict: Verdict) -> None:
    if verdict.sentence:
        sys.stderr.write(f"error: {verdict.sentence}\n")
        sys.stderr.flush()


def _state(count: int, last: Verdict | None) -> str:
    code, sentence = (last.code, last.sentence) if last else (None, "")
    return json.dumps({"count": count, "code": code, "sentence": sentence})


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state not in "ZX"  # a zombie still has its pid
    except ProcessLookupError:
        return False
    except OSError:
        return True
