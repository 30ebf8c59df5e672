"""Several processes that train as one: who they are, what they sum, and how they end. Alone, all of it is nothing.

Started by torchrun, or by srun with several tasks. Nothing else imports torch.distributed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from wsseg.core.errors import FaultsError, RecipeError
from wsseg.distributed.heartbeat import SILENCE_S, SUSPICIOUS_SILENCE_S, Heartbeat, Peer, Verdict
from wsseg.distributed.launch import Launch, read_launch

NEVER = timedelta(days=30)
"""A collective waits as long as the others live: rank 0 may validate for hours. The heartbeat ends what hangs."""
MEETING = timedelta(minutes=10)
PATIENCE_S = 20.0
"""So long a process with a fault waits for rank 0 to have the same one, and to say it."""


@dataclass(frozen=True)
class Runtime:
    """This process among those that train together.

    Attributes:
        rank: Its number; 0 speaks, writes, validates and scores for all.
        world: How many there are.
        local_rank: Its number on its node; 0 preprocesses for the node.
        local_world: How many there are on its node.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    by_srun: bool = False
    store: Store | None = None
    heartbeat: Heartbeat | None = None

    def threads(self) -> int:
        """Return how many of the processor's cores are this process's: its share, or all that srun has bound to it.

        WSSEG_THREADS, set for one of several runs on a machine, allows no more than that.
        """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        bound = self.by_srun and cores * self.local_world <= (os.cpu_count() or 1)
        share = cores if bound else max(1, cores // self.local_world)
        said = os.environ.get("WSSEG_THREADS", "")
        return min(share, max(1, int(said))) if said.isdigit() else share

    def device(self, device: torch.device) -> torch.device:
        """Return the GPU of this process where `device` is CUDA, else `device`. Raises RecipeError: too few GPUs."""
        if self.world == 1 or device.type != "cuda":
            return device
        seen = torch.cuda.device_count()
        if seen < self.local_world and not (self.by_srun and seen == 1):
            raise RecipeError(
                f"training.device: {self.local_world} processes on a node that has {seen} GPUs: start fewer"
            )
        return torch.device("cuda", self.local_rank % seen)

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Let rank 0 do something first, then the first process of every other node, then all others at once.

        What is wrong is so found, and said, by rank 0 alone; what is kept on a node's disk is made there once.
        """
        turn = 0 if self.rank == 0 else 1 if self.local_rank == 0 else 2
        for before in range(turn):
            self._gate(f"turn {before}")
        yield
        for after in range(turn, 2):
            self._gate(f"turn {after}")

    def broadcast_text(self, what: str, make: Callable[[], str]) -> str:
        """Return the text that rank 0 makes, in every process."""
        if self.store is None:
            return make()
        if self.rank == 0:
            self.store.set(f"same/{what}", make())
        self._wait_for(lambda: self._has(f"same/{what}"))
        told: bytes = self.store.get(f"same/{what}")
        return told.decode()

    def wrap_ddp(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Return a module that does as `module` does and averages its gradients over all processes."""
        if self.store is None:
            return module
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        store = PrefixStore("group", self.store)
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world, timeout=NEVER)
        # A network that no term looks at in an iteration, and the coarsest of deep logits, get no gradient.
        return DistributedDataParallel(module, find_unused_parameters=True)

    @contextmanager
    def report_peer_failure(self) -> Iterator[None]:
        """In here, an error that comes of another process's end is told as such, in one sentence."""
        try:
            yield
        except (RuntimeError, SystemExit) as error:
            if self.heartbeat is None:
                raise
            # torchrun stops the others at once when one is gone; those of another node are known by their silence.
            wait_s = 2.5 if isinstance(error, SystemExit) else SUSPICIOUS_SILENCE_S + 2
            if verdict := self._explained(wait_s):
                raise SystemExit(verdict.code) from None
            raise

    def _explained(self, wait_s: float) -> Verdict | None:
        assert self.heartbeat is not None  # there is one where there is a store
        until = time.monotonic() + wait_s
        while True:
            try:
                verdict = self.heartbeat.take(max(0.0, until - time.monotonic()), suspicious=True)
                if verdict:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends already, and in good order
                return verdict
            except SystemExit:
                continue  # asked to stop while it looks for why

    def _gate(self, name: str) -> None:
        """Wait until every process has come here."""
        if self.store is not None:
            store = self.store
            store.add(f"gate/{name}", 1)
            self._wait_for(lambda: store.add(f"gate/{name}", 0) >= self.world)

    def _has(self, key: str) -> bool:
        assert self.store is not None
        return bool(self.store.check([key]))

    def _wait_for(self, done: Callable[[], bool]) -> None:
        while not done():
            if self.heartbeat is not None and (verdict := self.heartbeat.take(0)):
                raise SystemExit(verdict.code)
            time.sleep(0.1)

    def _leave(self, error: BaseException | None) -> None:
        """End together: the others learn how this process has ended, and wait for rank 0, which scores after training.

        Raises:
            SystemExit: Instead of a fault that is not rank 0's: it is said here, if rank 0 does not say the same.
        """
        heartbeat = self.heartbeat
        if heartbeat is None:
            return
        if error is None:
            if self.rank != 0:
                self._wait_for(lambda: 0 in heartbeat.ended)
            if dist.is_initialized():
                dist.destroy_process_group()
            heartbeat.end(Verdict(0))
            return
        code = _code(error)
        mine = f"{heartbeat.me} stopped with an error of its own"
        known = heartbeat.verdict or (self.rank and code == 2 and heartbeat.take(PATIENCE_S)) or None
        if known is None and self.rank and isinstance(error, (FaultsError, OSError)):
            for fault in getattr(error, "faults", (str(error),)):
                sys.stderr.write(f"error: rank {self.rank}: {fault}\n")
        quiet = code > 2 or (self.rank == 0 and code == 2)
        heartbeat.end(known or Verdict(code, "" if quiet else mine))
        if known is not None:
            raise SystemExit(known.code) from None
        if self.rank and code != 1:
            raise SystemExit(code) from None


def _code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return 2 if isinstance(error, (FaultsError, OSError)) else 130 if isinstance(error, KeyboardInterrupt) else 1


ALONE = Runtime()


@contextmanager
def join_processes() -> Iterator[Runtime]:
    """Meet the other processes, train with them, and end with them. Alone, there is nothing to it.

    Raises:
        RecipeError: The environment says nothing that can be.
        SystemExit: Another process is gone or has ended with a fault.
    """
    launch = read_launch(os.environ)
    if launch is None:
        yield ALONE
        return
    runtime = _meet(launch)
    try:
        with runtime.report_peer_failure():
            yield runtime
            runtime._leave(None)
    except BaseException as error:
        runtime._leave(error)
        raise


def _meet(launch: Launch) -> Runtime:
    """Register with the others, and begin to beat."""
    host, silence_s = socket.gethostname(), _silence_s()
    me = Peer(launch.rank, launch.world, host, os.getpid(), f"{host} {_namespace()}")
    try:
        keeps = launch.rank == 0 and not launch.meets_launcher
        tcp = TCPStore(
            launch.address, launch.port, launch.world, is_master=keeps, timeout=MEETING, wait_for_workers=False
        )
        prefix = f"wsseg/{launch.attempt}"
        store = PrefixStore(prefix, tcp)
        store.set(f"peer/{launch.rank}", json.dumps([host, me.pid, me.place]))
        peers = []
        for rank in range(launch.world):
            its_host, pid, place = json.loads(store.get(f"peer/{rank}"))
            peers.append(Peer(rank, launch.world, its_host, pid, place))
        # A connection of its own: the main thread's may wait for long.
        own = TCPStore(
            launch.address, launch.port, is_master=False, timeout=timedelta(seconds=silence_s), wait_for_workers=False
        )
    except (RuntimeError, ValueError) as error:
        _fail(launch, error)
    store.set_timeout(NEVER)
    keeper = f"torchrun, which keeps {launch.address}:{launch.port}," if launch.meets_launcher else str(peers[0])
    beats = PrefixStore(prefix, own)
    for_all = Heartbeat(beats, keeper, me, peers, silence_s)
    beats.set(f"state/{launch.rank}", json.dumps({"count": 0, "code": None, "sentence": ""}))
    for_all.start()
    here = sum(peer.host == host for peer in peers)
    return Runtime(launch.rank, launch.world, launch.local_rank, here, launch.by_srun, store, for_all)


def _silence_s() -> float:
    said = os.environ.get("WSSEG_SILENCE_S", f"{SILENCE_S}")
    try:
        return max(3.0, float(said))  # a beat is a second
    except ValueError:
        raise RecipeError(f"environment: WSSEG_SILENCE_S={said!r}: expected seconds, e.g. 120") from None


def _fail(launch: Launch, error: Exception) -> NoReturn:
    raise RecipeError(
        f"rank {launch.rank} of {launch.world} could not meet the others at {launch.address}:{launch.port} "
        f"({str(error).splitlines()[0]}); are all started, and is the port free and open between the nodes?"
    ) from error


def _namespace() -> str:
    """Return what tells pids of this machine from those of a container with the same host name."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
