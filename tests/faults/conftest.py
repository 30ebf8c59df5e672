"""One tiny trained run for all faults, and the counts that the table of goals is made of."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .tiny import NO_SERVER, Server, Tiny, write_dataset


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The process that forks commands."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def trained(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The dataset and its finished run; never changed."""
    folder = tmp_path_factory.mktemp("tiny")
    env = {"WSSEG_CACHE": str(folder / "cache"), "MLFLOW_TRACKING_URI": NO_SERVER, "WSSEG_THREADS": "1"}
    tiny = Tiny(folder, write_dataset(folder / "data"), folder / "run", folder / "cache", server, env)
    ended = tiny.train(run=tiny.run)
    assert ended.code == 0, ended.output
    shutil.copytree(tiny.cache, tiny.cache.with_name("cache_of_run"))  # other tests add cases to the cache
    return tiny


@pytest.fixture
def tiny(trained: Tiny, tmp_path: Path) -> Tiny:
    """The same for one test, whose copies lie in a folder of its own."""
    return Tiny(tmp_path, trained.root, trained.run, trained.cache, trained.server, dict(trained.env))


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return a function that adds a line to $WSSEG_FAULT_COUNTS, of which `fault_table.py` makes the table."""

    def add(goal: str, held: int, of: int, what: str = "") -> None:
        entry = {"goal": goal, "held": held, "of": of, "what": what, "test": request.node.name}
        if file := os.environ.get("WSSEG_FAULT_COUNTS"):
            with Path(file).open("a", encoding="utf-8") as out:
                out.write(json.dumps(entry) + "\n")

    return add
