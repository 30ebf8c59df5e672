"""Several processes that train together: rendezvous, DDP, order of work, and a common end.

They are started by torchrun, or by srun with several tasks. With one process, everything here does nothing. Only this
package imports torch.distributed.
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

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from wsseg.core.errors import FaultsError, RecipeError
from wsseg.core.machine import own_cores
from wsseg.core.plain_json import parse_json
from wsseg.distributed.heartbeat import SILENCE_S, SUSPICIOUS_SILENCE_S, Heartbeat, Peer, ProcessExit, initial_state
from wsseg.distributed.launch import Launch, read_launch

NO_TIMEOUT = timedelta(days=30)
"""Timeout of collectives: rank 0 may validate for hours. The heartbeat ends what hangs."""
RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
RANK_ZERO_GRACE_S = 20.0
"""Grace period in which rank 0 may report the same error as this process."""


@dataclass(frozen=True)
class Runtime:
    """This process within its group.

    Attributes:
        rank: Number of the process; rank 0 prints, writes files, validates and scores.
        world: Number of processes.
        local_rank: Number of the process on its node; local rank 0 preprocesses for the node.
        local_world: Number of processes on the node.
        by_srun: Started by srun, which binds each task to its cores and perhaps to one GPU.
        store: Key-value store of the group; None for a single process, as is `heartbeat`.
        heartbeat: Thread that watches the other processes.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    by_srun: bool = False
    store: Store | None = None
    heartbeat: Heartbeat | None = None

    def threads(self) -> int:
        """Return the number of cores for this process: its share of the node, or all cores that srun bound to it.

        WSSEG_THREADS, which the executors set for each of several runs on one machine, is an upper limit.
        """
        cores = len(own_cores())
        bound = self.by_srun and cores * self.local_world <= (os.cpu_count() or 1)
        share = cores if bound else max(1, cores // self.local_world)
        limit = os.environ.get("WSSEG_THREADS", "")
        return min(share, max(1, int(limit))) if limit.isdigit() else share

    def device(self, device: torch.device) -> torch.device:
        """Return the GPU of this process if `device` is CUDA, else `device`. Raises RecipeError: too few GPUs."""
        if self.world == 1 or device.type != "cuda":
            return device
        gpus = torch.cuda.device_count()
        if gpus < self.local_world and not (self.by_srun and gpus == 1):
            raise RecipeError(
                f"training.device: {self.local_world} processes on a node that has {gpus} GPUs: start fewer"
            )
        return torch.device("cuda", self.local_rank % gpus)

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Run the body in rank 0 first, then in the first process of every other node, then in all others at once.

        So rank 0 is the only one to report faults, and files on the disk of a node are written once.
        """
        turn = 0 if self.rank == 0 else 1 if self.local_rank == 0 else 2
        for before in range(turn):
            self._barrier(f"turn {before}")
        yield
        for after in range(turn, 2):
            self._barrier(f"turn {after}")

    def broadcast_text(self, key: str, make: Callable[[], str]) -> str:
        """Return the text that rank 0 makes, in every process."""
        if self.store is None:
            return make()
        store = self.store
        if self.rank == 0:
            store.set(f"same/{key}", make())
        self._wait_for(lambda: bool(store.check([f"same/{key}"])))
        content: bytes = store.get(f"same/{key}")
        return content.decode()

    def wrap_ddp(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Return the module wrapped for data-parallel training: gradients are averaged over all processes."""
        if self.store is None:
            return module
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        store = PrefixStore("group", self.store)
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world, timeout=NO_TIMEOUT)
        # A network that no term uses in an iteration, and the coarsest of the deep logits, get no gradient.
        return DistributedDataParallel(module, find_unused_parameters=True)

    @contextmanager
    def report_peer_failure(self) -> Iterator[None]:
        """Turn an error of the body that is caused by the end of another process into one message and an exit code."""
        try:
            yield
        except (RuntimeError, SystemExit) as error:
            if self.heartbeat is None:
                raise
            # torchrun stops the processes of a node at once when one is lost; those of other nodes just fall silent.
            wait_s = 2.5 if isinstance(error, SystemExit) else SUSPICIOUS_SILENCE_S + 2
            if cause := self._peer_failure(self.heartbeat, wait_s):
                raise SystemExit(cause.code) from None
            raise

    def _peer_failure(self, heartbeat: Heartbeat, wait_s: float) -> ProcessExit | None:
        until = time.monotonic() + wait_s
        while True:
            try:
                cause = heartbeat.claim(max(0.0, until - time.monotonic()), suspicious=True)
                if cause:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the regular exit has begun: do not interrupt it
                return cause
            except SystemExit:
                continue  # SIGTERM while waiting for the cause

    def _barrier(self, name: str) -> None:
        """Wait until every process has reached this point."""
        if self.store is not None:
            store = self.store
            store.add(f"gate/{name}", 1)
            self._wait_for(lambda: store.add(f"gate/{name}", 0) >= self.world)

    def _wait_for(self, done: Callable[[], bool]) -> None:
        while not done():
            if self.heartbeat is not None and (failure := self.heartbeat.claim(0)):
                raise SystemExit(failure.code)
            time.sleep(0.1)

    def _leave(self, error: BaseException | None) -> None:
        """Leave the group: report how this process ended; after a success, wait for rank 0, which still scores.

        Raises:
            SystemExit: In place of an error of another rank than 0; it is printed here unless rank 0 prints the same.
        """
        heartbeat = self.heartbeat
        if heartbeat is None:
            return
        if error is None:
            if self.rank != 0:
                self._wait_for(lambda: 0 in heartbeat.ended)
            if dist.is_initialized():
                dist.destroy_process_group()
            heartbeat.announce_exit(ProcessExit(0))
            return
        code = _exit_code(error)
        cause = heartbeat.exit or (self.rank and code == 2 and heartbeat.claim(RANK_ZERO_GRACE_S)) or None
        if cause is None and self.rank and isinstance(error, (FaultsError, OSError)):
            for fault in getattr(error, "faults", (str(error),)):
                sys.stderr.write(f"error: rank {self.rank}: {fault}\n")
        quiet = code > 2 or (self.rank == 0 and code == 2)
        message = "" if quiet else f"{heartbeat.me} stopped with an error of its own"
        heartbeat.announce_exit(cause or ProcessExit(code, message))
        if cause is not None:
            raise SystemExit(cause.code) from None
        if self.rank and code != 1:
            raise SystemExit(code) from None


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, FaultsError):
        return error.exit_code
    return 2 if isinstance(error, OSError) else 130 if isinstance(error, KeyboardInterrupt) else 1


ALONE = Runtime()


@contextmanager
def join_processes() -> Iterator[Runtime]:
    """Join the other processes for the body and leave the group together. A single process gets ALONE.

    Raises:
        RecipeError: The environment variables of the launcher are invalid, or the others cannot be reached.
        SystemExit: Another process was lost or has failed.
    """
    launch = read_launch(os.environ)
    if launch is None:
        yield ALONE
        return
    runtime = _rendezvous(launch)
    try:
        with runtime.report_peer_failure():
            yield runtime
            runtime._leave(None)
    except BaseException as error:
        runtime._leave(error)
        raise


def _rendezvous(launch: Launch) -> Runtime:
    """Register in the store, wait for all others, and start the heartbeat."""
    host, silence_s = socket.gethostname(), _silence_s()
    me = Peer(launch.rank, launch.world, host, os.getpid(), f"{host} {_pid_namespace()}")
    try:
        hosts_store = launch.rank == 0 and not launch.launcher_hosts_store
        tcp = TCPStore(
            launch.address, launch.port, launch.world, is_master=hosts_store, timeout=RENDEZVOUS_TIMEOUT,
            wait_for_workers=False,
        )  # fmt: skip
        prefix = f"wsseg/{launch.attempt}"
        store = PrefixStore(prefix, tcp)
        store.set(f"peer/{launch.rank}", json.dumps([host, me.pid, me.place]))
        peers = []
        for rank in range(launch.world):
            peer_host, pid, place = parse_json(store.get(f"peer/{rank}"))
            peers.append(Peer(rank, launch.world, peer_host, pid, place))
        # The heartbeat has a connection of its own: the main thread may block its own for long.
        connection = TCPStore(
            launch.address, launch.port, is_master=False, timeout=timedelta(seconds=silence_s), wait_for_workers=False
        )
    except (RuntimeError, ValueError) as error:
        raise RecipeError(
            f"rank {launch.rank} of {launch.world} could not reach the other processes at "
            f"{launch.address}:{launch.port} ({str(error).splitlines()[0]}); check that all processes are started and "
            "that the port is free and open between the nodes"
        ) from error
    store.set_timeout(NO_TIMEOUT)
    store_owner = (
        f"torchrun, which hosts {launch.address}:{launch.port}," if launch.launcher_hosts_store else str(peers[0])
    )
    states = PrefixStore(prefix, connection)
    heartbeat = Heartbeat(states, store_owner, me, peers, silence_s)
    states.set(f"state/{launch.rank}", initial_state())
    heartbeat.start()
    local_world = sum(peer.host == host for peer in peers)
    return Runtime(launch.rank, launch.world, launch.local_rank, local_world, launch.by_srun, store, heartbeat)


def _silence_s() -> float:
    text = os.environ.get("WSSEG_SILENCE_S", f"{SILENCE_S}")
    try:
        return max(3.0, float(text))  # a heartbeat takes a second
    except ValueError:
        raise RecipeError(f"environment: WSSEG_SILENCE_S={text!r}: expected seconds, e.g. 120") from None


def _pid_namespace() -> str:
    """Return the pid namespace: pids of this machine differ from those of a container with the same host name."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
