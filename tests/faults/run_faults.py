"""Faults of a run and its machine: injectors of the rows 1 to 6 and 23 to 34."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .tiny import Child, Ended, Tiny

LONG = ("training.iterations=3000", "training.checkpoint_every=50")
"""A training that does not end by itself while a test does something to it."""


def started(tiny: Tiny, *words: str, run: str = "new", fault: dict[str, Any] | None = None, **env: str) -> Child:
    """Start a training in the background."""
    command = ["train", tiny.recipe(), *words, "--run-dir", tiny.folder / run]
    return tiny.server.start(command, tiny.env | env, tiny.folder / f"{run}.txt", fault)


def wait_for(child: Child, folder: Path, pattern: str) -> None:
    """Wait until a file of the pattern appears."""
    limit = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert child.poll() is None, child.output.read_text()
        assert time.monotonic() < limit, child.output.read_text()
        time.sleep(0.01)


def newest(run: Path) -> int:
    """Return the iteration of the newest valid checkpoint; -1 without one."""
    from wsseg.training.checkpoint import Checkpoints

    snapshot = Checkpoints(run / "checkpoints").newest([])
    return -1 if snapshot is None else snapshot.iteration


def kills(tiny: Tiny, calls: Iterable[int]) -> dict[str, bool]:
    """Kill a training just before its N-th call that makes a file durable; the last one is resumed to its end."""
    held = {}
    for call in calls:
        run = f"killed{call}"
        ended = started(tiny, "training.checkpoint_every=1", run=run, fault={"kill_at": call}).wait()
        written = sorted((tiny.folder / run / "checkpoints").glob("iteration_*.json"))
        least = int(written[-1].stem.rsplit("_", 1)[1]) - 1 if written else -1
        held[f"call {call}"] = ended.code == -signal.SIGKILL and newest(tiny.folder / run) >= max(least, -1)
    resumed = tiny.train("training.checkpoint_every=1", "--resume", run=tiny.folder / run)
    held["resumed"] = resumed.code == 0 and weights(tiny.folder / run) == weights(tiny.run)
    return held


def weights(run: Path) -> bytes:
    """Return the final weights of a run."""
    return (run / "weights.safetensors").read_bytes()


def kinds_of_files(tiny: Tiny) -> dict[str, str]:
    """Return pattern -> command that reads the files of a run and cache."""
    return {
        "checkpoints/iteration_0000006.safetensors": "resume", "checkpoints/iteration_0000006.json": "resume",
        "plan.json": "resume", "resolved.json": "resume", "opened.json": "resume", "record.jsonl": "resume",
        "weights.safetensors": "predict", "weights.json": "predict",
        "image.npy": "train", "label.npy": "train", "sites.npz": "train", "meta.json": "train",
    }  # fmt: skip


def flips(tiny: Tiny, count: int, seed: int = 0) -> dict[str, bool]:
    """Flip one bit in a file of a run or cache, each kind in turn; it has to be named, or mended with a sentence."""
    chance, kinds = random.Random(seed), list(kinds_of_files(tiny).items())
    return {f"{n} {kinds[n % len(kinds)][0]}": flip(tiny, n, *kinds[n % len(kinds)], chance) for n in range(count)}


def flip(tiny: Tiny, number: int, name: str, command: str, chance: random.Random) -> bool:
    """Return whether one flipped bit is noticed."""
    folder = tiny.folder / f"flip{number}"
    own = Tiny(folder, tiny.root, tiny.run, tiny.cache, tiny.server, dict(tiny.env))
    folder.mkdir()
    run = own.unfinished() if command == "resume" else own.run_copy()
    path = chance.choice(sorted(own.own_cache().glob(f"store/*/{name}"))) if command == "train" else run / name
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))
    if command == "predict":
        ended = own.wsseg("predict", run, own.root / "imagesTs", folder / "out")
    elif command == "resume":
        ended = own.train("--resume", run=run)
    else:
        ended = own.train("training.iterations=1", run=folder / "new")
    named = path.name in ended.output or path.parent.name in ended.output
    return named and not ended.traceback and ended.code in (0, 2)


def disk_full(tiny: Tiny) -> list[Ended]:
    """No space for a while, and no space to the end."""
    words = ("training.checkpoint_every=1",)
    for_a_while = started(tiny, *words, run="a", fault={"full_at": [20, 21, 22]}).wait()
    return [for_a_while, started(tiny, *words, run="b", fault={"full_from": 30}).wait()]


def disk_full_oracle(tiny: Tiny, outcome: list[Ended]) -> None:
    """Training goes on; the end says so with exit code 3 if a file never fitted; no partial file is left."""
    for_a_while, for_ever = outcome
    assert for_a_while.code == 0 and "space" in for_a_while.output, for_a_while
    assert for_ever.code == 3 and for_ever.errors and not for_ever.traceback, for_ever
    assert newest(tiny.folder / "b") >= 0 and newest(tiny.folder / "a") == 8
    assert not list(tiny.folder.rglob("*.partial*"))


def failing_step(tiny: Tiny, kind: str) -> Ended:
    """The backward pass of step 6 fails."""
    return started(tiny, fault={"step": 6, "raises": kind}).wait()


def saved(code: int) -> Any:
    """The command ends with one line and this code, and a checkpoint is kept."""

    def oracle(tiny: Tiny, ended: Ended) -> None:
        assert ended.code == code and len(ended.errors) == 1 and not ended.traceback, ended
        assert newest(tiny.folder / "new") >= 4

    return oracle


def not_a_number(tiny: Tiny) -> Ended:
    """A learning rate that no network survives."""
    return tiny.train("training.lr=1e30", "training.iterations=60", "training.clip_norm=1e30")


def unwritable(tiny: Tiny) -> list[Ended]:
    """Folders in which nobody may write, root included."""
    place = "/proc/wsseg"
    return [
        tiny.train(run=Path(place)),
        tiny.wsseg("predict", tiny.run, tiny.root / "imagesTs", place),
        tiny.train(WSSEG_CACHE=place),
    ]


def hanging_server(tiny: Tiny) -> list[Ended]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        return [tiny.train(MLFLOW_TRACKING_URI=uri)]


def whole_record(tiny: Tiny, outcome: list[Ended]) -> None:
    """The run ends as always, its record is complete, and one sentence says what is missing in MLflow."""
    lines = [json.loads(line) for line in (tiny.folder / "new/record.jsonl").read_text().splitlines()]
    steps = {line["step"] for line in lines if "loss/total" in line.get("metrics", {})}
    assert outcome[0].code == 0 and steps == set(range(1, 9)), outcome
    assert "record is complete" in outcome[0].output or "too slow" in outcome[0].output


def two_runs(tiny: Tiny) -> list[Ended]:
    """A second training in the folder of one that runs, and a resume of it."""
    first = started(tiny, *LONG)
    wait_for(first, tiny.folder, "new/checkpoints/*.json")
    others = [tiny.train(*LONG), tiny.train(*LONG, "--resume")]
    others[0].output += ""
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    again = started(tiny, *LONG, "--resume")  # the lock of a dead process is free
    wait_for(again, tiny.folder, "new/checkpoints/*.json")
    alive = again.poll() is None
    os.kill(again.pid, signal.SIGKILL)
    again.wait()
    return [Ended(0 if alive else 1, "resumed"), *others]


SIGNALS = {signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGHUP: 129, signal.SIGINT: 130}


def signals(tiny: Tiny) -> dict[int, tuple[Ended, int, int]]:
    """Send each signal to a training; return the end, the newest checkpoint then and at the signal."""
    ends = {}
    for number in SIGNALS:
        run = f"run{int(number)}"
        words = (*LONG, "training.checkpoint_every=1000", "training.log_every=1")
        child = started(tiny, *words, run=run)
        wait_for(child, tiny.folder, f"{run}/record.jsonl")
        limit = time.monotonic() + 60
        while b'"loss/total"' not in (tiny.folder / run / "record.jsonl").read_bytes():
            assert time.monotonic() < limit
            time.sleep(0.01)
        os.kill(child.pid, number)
        ends[number] = child.wait(), newest(tiny.folder / run), 1
    return ends


def signals_oracle(tiny: Tiny, outcome: dict[int, tuple[Ended, int, int]]) -> None:
    """Each ends with its code, without a traceback, and a checkpoint of the last step."""
    for number, code in SIGNALS.items():
        ended, iteration, least = outcome[number]
        assert ended.code == code and not ended.traceback, (number, ended)
        assert iteration >= least, (number, ended)


def resumed(tiny: Tiny, points: Iterable[int], threads: int = 1) -> dict[str, bool]:
    """Kill a training after a checkpoint of iteration k and resume it; the weights are those of a whole training."""
    env, words = {"WSSEG_THREADS": str(threads)}, ("training.checkpoint_every=1",)
    whole = tiny.folder / f"whole{threads}"
    assert tiny.train(*words, run=whole, **env).code == 0
    held = {}
    for k in points:
        run = tiny.folder / f"resumed{threads}_{k}"
        ended = started(tiny, *words, run=run.name, fault={"step": k + 1, "raises": "kill"}, **env).wait()
        reached = newest(run)
        again = tiny.train(*words, "--resume", run=run, **env)
        held[f"{k} of 8, {threads} threads"] = (
            ended.code == -signal.SIGKILL and reached == k and again.code == 0 and weights(run) == weights(whole)
        )
    return held


def other_recipe(tiny: Tiny) -> Ended:
    """Resume with another learning rate."""
    return tiny.train("training.lr=0.5", "--resume", run=tiny.unfinished())


def versions_recorded(tiny: Tiny) -> dict[str, bool]:
    """The record names the versions that results depend on."""
    tags = json.loads((tiny.run / "record.jsonl").read_text().splitlines()[0])["tags"]
    return {name: bool(tags.get(name)) for name in ("python", "platform", "torch", "monai", "numpy", "wsseg")}


def half_a_cache(tiny: Tiny) -> dict[str, bool]:
    """Kill a training while it fills its cache; the next one fills it, and nothing half-written is left."""
    cache = tiny.folder / "cache"
    held = {}
    for call in (1, 2, 3):
        ended = started(tiny, run=f"k{call}", WSSEG_CACHE=str(cache), fault={"kill_at": call}).wait()
        held[f"killed at {call}"] = ended.code == -signal.SIGKILL
    after = tiny.train(run=tiny.folder / "after", WSSEG_CACHE=str(cache))
    entries = [path.name for path in (cache / "store").iterdir()]
    held["next run"] = after.code == 0
    held["four whole cases"] = len(list((cache / "store").glob("*/meta.json"))) == 4
    held["nothing half-written"] = not [name for name in entries if "partial" in name or name.startswith(".")]
    return held


TRAPS = {
    "seed: 1": "seed: 1\nseed: 2", "lr: 0.01": "lr: fast", "iterations: 8": "iterations: 010",
    "fold: null": "fold: 0x1g",
    "use: unet": "use: unett", "log_every: 1": "log_every: true", "device: cpu": "device: no",
    "partial_loss: {weight: 1.0}": "partial_loss: {weight: 1.0, ce: '1'}",
    "networks:": "networks: &a\n  <<: *a",
}  # fmt: skip


def yaml_traps(tiny: Tiny) -> list[Ended]:
    """Recipes whose YAML means something else than it seems to."""
    text = tiny.recipe().read_text()
    ended = []
    for sound, trap in TRAPS.items():
        assert sound in text
        (tiny.folder / "tiny.yaml").write_text(text.replace(sound, trap, 1))
        ended.append(tiny.wsseg("train", tiny.folder / "tiny.yaml", "--run-dir", tiny.folder / "new"))
    return ended


def environments(tiny: Tiny) -> list[Ended]:
    """No home, no language, another time zone, and a user that the machine does not know."""
    short = ("training.iterations=1",)
    odd = {
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "LANG": "C",
        "TZ": "Pacific/Kiritimati",
        "TERM": "dumb",
        "COLUMNS": "1",
    }
    unknown = {key: value for key, value in tiny.env.items() if key != "WSSEG_CACHE"} | {"TMPDIR": str(tiny.folder)}
    child = Tiny(tiny.folder, tiny.root, tiny.run, tiny.cache, tiny.server, unknown)
    return [
        tiny.train(*short, run=tiny.folder / "odd", **odd),
        started(child, *short, run="unknown", fault={"no_passwd": True}).wait(),
    ]


def dead_rank(tiny: Tiny) -> Ended:
    """Two processes train together; the second is killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": "2"}
    children = []
    for rank in ("0", "1"):
        command = ["train", tiny.recipe(), *LONG, "--run-dir", tiny.folder / "new"]
        env = tiny.env | shared | {"RANK": rank, "LOCAL_RANK": rank}
        children.append(tiny.server.start(command, env, tiny.folder / f"rank{rank}.txt"))
    wait_for(children[0], tiny.folder, "new/checkpoints/*.json")
    os.kill(children[1].pid, signal.SIGKILL)
    children[1].wait()
    return children[0].wait()


def dead_rank_oracle(tiny: Tiny, ended: Ended) -> None:
    """The other process ends with a line that names the lost one and the remedy."""
    assert ended.code == 2 and ended.errors and "--resume" in ended.errors[0] and "1" in ended.errors[0], ended
