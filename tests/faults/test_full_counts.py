"""The full counts of the goals: 100 kills (R1), 200 flipped bits (R2), 20 resume points (R5), depths of volumes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from . import run_faults
from .data_faults import thin
from .rows import survives
from .run_faults import LONG, flip, kinds_of_files, newest, started, wait_for, weights
from .tiny import Tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SHARDS = 4
"""Parts of a count, so that each is one short test."""


@pytest.mark.parametrize("shard", range(SHARDS))
def test_60_kills_just_before_a_call_that_makes_a_file_durable(
    tiny: Tiny, count: Callable[..., None], shard: int
) -> None:
    held = run_faults.kills(tiny, range(4 + shard, 64, SHARDS))
    resumed = held.pop("resumed")
    count("R1", sum(held.values()), len(held), "before a write or a rename")
    assert resumed and all(held.values()), held


@pytest.mark.parametrize("shard", range(SHARDS))
def test_40_kills_at_random_moments(tiny: Tiny, count: Callable[..., None], shard: int) -> None:
    chance, held = random.Random(shard), []
    for n in range(10):
        run = f"run{n}"
        child = started(tiny, *LONG, "training.checkpoint_every=1", run=run)
        wait_for(child, tiny.folder, f"{run}/checkpoints/*.json")
        time.sleep(chance.uniform(0, 0.5))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        written = sorted((tiny.folder / run / "checkpoints").glob("iteration_*.json"))[-1]
        held.append(newest(tiny.folder / run) >= int(written.stem.rsplit("_", 1)[1]) - 1)
    count("R1", sum(held), len(held), "at a random moment")
    assert all(held)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_200_flipped_bits_in_all_files_of_a_run_and_cache(tiny: Tiny, count: Callable[..., None], shard: int) -> None:
    chance, kinds = random.Random(f"flips {shard}"), list(kinds_of_files(tiny).items())
    chosen = [kinds[n % len(kinds)] for n in range(shard * 50, shard * 50 + 50)]
    held = {f"{n} {kind[0]}": flip(tiny, n, *kind, chance) for n, kind in enumerate(chosen)}
    for name, _ in kinds:
        own = [noticed for place, noticed in held.items() if place.endswith(name)]
        count("R2", sum(own), len(own), name)
    assert all(held.values()), [place for place, noticed in held.items() if not noticed]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_resume_points_at_a_recorded_number_of_threads(tiny: Tiny, count: Callable[..., None], threads: int) -> None:
    points = range(1, 8) if threads < 3 else range(1, 7)
    held = run_faults.resumed(tiny, points, threads)
    count("R5", sum(held.values()), len(held), f"{threads} threads")
    assert all(held.values()), held


def test_volumes_of_1_to_33_slices(tiny: Tiny) -> None:
    ended = thin(tiny, [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33])
    survives()(tiny, ended)


def test_two_whole_trainings_have_the_same_weights(tiny: Tiny) -> None:
    assert tiny.train().code == 0
    assert weights(tiny.folder / "new") == weights(tiny.run)
