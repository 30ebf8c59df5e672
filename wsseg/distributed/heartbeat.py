"""Detection of failed processes: each process of a training writes a heartbeat and watches those of the others."""

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

from wsseg.core.plain_json import parse_json

BEAT_S, FAST_BEAT_S = 1.0, 0.1
SILENCE_S = 120.0
"""A process whose heartbeat has stopped for this long is lost; WSSEG_SILENCE_S overrides it."""
SUSPICIOUS_SILENCE_S = 6.0
"""The same limit after an error here that usually follows the loss of another process."""
GRACE_S = 5.0
"""Time for the main thread to exit by itself. It cannot while it is blocked in a collective with a lost process."""
LINGER_S = 10.0
"""Longest time a process that exits waits until the others have read why."""


class StateStore(Protocol):
    """A key-value store shared by all processes."""

    def set(self, key: str, value: str) -> None:
        """Set a value."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Return values; blocks until every key exists."""


@dataclass(frozen=True)
class Peer:
    """One process of the group. `place` (host and pid namespace) says where its pid is valid."""

    rank: int
    world: int
    host: str
    pid: int
    place: str

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world} (host {self.host}, pid {self.pid})"


@dataclass(frozen=True)
class ProcessExit:
    """Why a process has to exit: its exit code and the error message to print ("" for none)."""

    code: int
    message: str = ""


class Heartbeat(threading.Thread):
    """Thread that writes the state of this process to the store every second and reads the states of the others.

    The state is a counter. When a process ends, it is the exit code and a message for the others. A process is lost if
    its pid no longer exists (on the same node), or if its counter has not changed for `silence_s`. If a process is lost
    or has failed, `exit` is set. The main thread reads it with `claim`; if it does not within GRACE_S, this thread ends
    the whole process.

    Args:
        store: Store of the states. It raises RuntimeError when it is unreachable.
        store_owner: Name of the process that hosts the store; it is lost when the store is unreachable.
        me: This process.
        peers: All processes, including this one.
        silence_s: Time without a heartbeat after which a process is lost.
    """

    def __init__(self, store: StateStore, store_owner: str, me: Peer, peers: Sequence[Peer], silence_s: float) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.store, self.store_owner, self.me, self.silence_s = store, store_owner, me, silence_s
        self.others = {peer.rank: peer for peer in peers if peer.rank != me.rank}
        self.ended: dict[int, int] = {}
        """Exit codes of the processes that have ended, by rank."""
        self.lost: set[int] = set()
        self.exit: ProcessExit | None = None
        self._wake, self._claimed = threading.Event(), threading.Event()
        self._waited_after_error = False
        self._own_exit: ProcessExit | None = None
        now = time.monotonic()
        self._last_state = dict.fromkeys(self.others, ("", now))

    def claim(self, wait_s: float, suspicious: bool = False) -> ProcessExit | None:
        """Return the reason to exit if there is one within `wait_s`, and print it; the caller then has to exit.

        Args:
            wait_s: Longest time to wait.
            suspicious: There was an error that usually follows the loss of another process, so use the short limit.
        """
        if suspicious:
            self.silence_s = min(self.silence_s, SUSPICIOUS_SILENCE_S)
            wait_s, self._waited_after_error = 0 if self._waited_after_error else wait_s, True
        until = time.monotonic() + wait_s
        while self.exit is None and time.monotonic() < until and not self._all_accounted_for():
            self._wake.set()
            time.sleep(FAST_BEAT_S)
        if self.exit is not None and not self._claimed.is_set():
            self._claimed.set()
            _print_error(self.exit)
        return self.exit

    def announce_exit(self, own_exit: ProcessExit) -> None:
        """Write to the store that this process ends and why, and wait up to LINGER_S until the others have read it."""
        self._own_exit = own_exit
        self._claimed.set()
        self._wake.set()
        self.join(LINGER_S + 2)

    def run(self) -> None:
        """Write the heartbeat, check the others, and end the process when necessary."""
        count, until = 0, float("inf")
        while time.monotonic() < until:
            count += 1
            own_exit = self._own_exit
            if own_exit is not None:
                until = min(until, time.monotonic() + LINGER_S)
            try:
                self.store.set(f"state/{self.me.rank}", _state(count, own_exit))
                failure = self._check_peers()
            except RuntimeError:  # torch raises it for every connection error
                failure = peer_lost(self.store_owner)
                self.lost = set(self.others)  # without the store, nothing is known of any of them
            if own_exit is not None and self._all_accounted_for():
                return
            if own_exit is None and failure is not None and self.exit is None:
                self.exit = failure
                self._exit_unless_claimed(failure)
            self._wake.wait(FAST_BEAT_S if own_exit else BEAT_S)
            self._wake.clear()

    def _check_peers(self) -> ProcessExit | None:
        # Check pids before reading states: a process may end regularly between the two.
        dead = {rank for rank, peer in self.others.items() if peer.place == self.me.place and not _is_alive(peer.pid)}
        ranks = [rank for rank in self.others if rank not in self.ended]
        states = self.store.multi_get([f"state/{rank}" for rank in ranks])
        now, failure = time.monotonic(), None
        for rank, raw in zip(ranks, states, strict=True):
            text = raw.decode()
            state = parse_json(text)
            if state["code"] is not None:
                self.ended[rank] = state["code"]
                if state["code"]:
                    failure = failure or ProcessExit(state["code"], state["message"])
                continue
            if text != self._last_state[rank][0]:
                self._last_state[rank] = (text, now)
            if rank in dead or now - self._last_state[rank][1] > self.silence_s:
                self.lost.add(rank)
                failure = failure or peer_lost(str(self.others[rank]))
        return failure

    def _all_accounted_for(self) -> bool:
        return len(self.lost.union(self.ended)) == len(self.others)

    def _exit_unless_claimed(self, failure: ProcessExit) -> None:
        if not self._claimed.wait(GRACE_S):
            _print_error(failure)
            try:
                self.store.set(f"state/{self.me.rank}", _state(0, failure))
                time.sleep(0 if self._all_accounted_for() else 2 * BEAT_S)
            finally:
                os._exit(failure.code)  # the main thread is blocked in a collective and would never raise


def peer_lost(name: str) -> ProcessExit:
    """Return the exit code and message for the loss of a process."""
    return ProcessExit(2, f"{name} is gone; resume with the same command and --resume")


def initial_state() -> str:
    """Return the state of a process before its first heartbeat."""
    return _state(0, None)


def _print_error(reason: ProcessExit) -> None:
    if reason.message:
        sys.stderr.write(f"error: {reason.message}\n")
        sys.stderr.flush()


def _state(count: int, own_exit: ProcessExit | None) -> str:
    code, message = (own_exit.code, own_exit.message) if own_exit else (None, "")
    return json.dumps({"count": count, "code": code, "message": message})


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state not in "ZX"  # a zombie still has its pid
    except ProcessLookupError:
        return False
    except OSError:
        return True
