"""A team's server as mlflow/compose.yaml starts it, without its containers: real PostgreSQL, MLflow with passwords."""

import base64
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from wsseg.core.errors import DataError
from wsseg.tracking.sync import sync

FOLDER = Path(__file__).parents[2] / "mlflow"
SECRETS = {
    "POSTGRES_PASSWORD": "a1b2c3d4e5",
    "MLFLOW_SECRET_KEY": "f6a7b8c9d0",
    "MLFLOW_ADMIN_PASSWORD": "administrator-1",
    "MLFLOW_NAME": "mlflow.example.org",
    "MLFLOW_FILES": "/data",
}


def compose() -> dict[str, Any]:
    """The file, with the values of an .env filled in as compose does."""
    text = (FOLDER / "compose.yaml").read_text()

    def fill(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":")
        return SECRETS.get(name) or (
            default[1:] if default.startswith("-") else pytest.fail(f"{name} is not filled in")
        )

    found: dict[str, Any] = YAML(typ="safe").load(re.sub(r"\$\{([^}]*)\}", fill, text))
    return found


def test_images_are_pinned_services_are_watched_and_no_secret_is_committed() -> None:
    services = compose()["services"]
    assert all(re.search(r":v?\d+\.\d+", service["image"]) for service in services.values())
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in services.values())
    wanted = set(re.findall(r"\$\{(\w+)", (FOLDER / "compose.yaml").read_text()))
    offered = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / ".env.example").read_text(), re.MULTILINE))
    assert wanted == set(offered)
    assert not [name for name, value in offered.items() if ("PASSWORD" in name or "KEY" in name) and value]
    version = re.search(r"^mlflow==(.*)$", (FOLDER.parent / "constraints.txt").read_text(), re.MULTILINE)
    assert version is not None
    assert services["mlflow"]["image"] == f"ghcr.io/mlflow/mlflow:v{version[1]}-full"


def binary(name: str) -> str:
    every = [*map(str, Path("/usr/lib/postgresql").glob("*/bin")), os.environ["PATH"]]
    found = shutil.which(name, path=os.pathsep.join(every))
    return found or pytest.skip(f"no {name} in PATH or /usr/lib/postgresql/*/bin: install postgresql to run this")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait(condition: Callable[[], object], seconds: float = 250) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"nothing happened in {seconds} seconds"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL's empty database named mlflow, like that in the container."""
    import psycopg

    initdb, server = binary("initdb"), binary("postgres")
    # PostgreSQL refuses to be started by root, and its user cannot enter pytest's folders.
    known = {user.pw_name for user in pwd.getpwall()}
    user = ("postgres" if "postgres" in known else "nobody") if os.geteuid() == 0 else None
    folder, port = Path(tempfile.mkdtemp(prefix="wsseg-postgres-")), free_port()
    (folder / "password").write_text(SECRETS["POSTGRES_PASSWORD"])
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    data = str(folder / "data")
    how = ["--username=mlflow", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync"]
    subprocess.run([initdb, "-D", data, *how], check=True, capture_output=True, user=user, cwd=folder)
    settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
    options = [word for setting in settings for word in ("-c", setting)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, "-D", data, *options], stderr=log, stdout=log, user=user, cwd=folder)
    root = f"postgresql://mlflow:{SECRETS['POSTGRES_PASSWORD']}@127.0.0.1:{port}"

    def create() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(f"{root}/postgres", autocommit=True) as database:
            database.execute("CREATE DATABASE mlflow")
            return True
        assert process.poll() is None, (folder / "log").read_text()
        return False

    try:
        wait(create)
        yield f"{root}/mlflow"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_was_backed_up_is_restored_even_over_a_newer_schema(postgres: str, tmp_path: Path) -> None:
    """The README's own lines, with PostgreSQL's programs of this machine; an update has added a table meanwhile."""
    import psycopg

    text = (FOLDER / "README.md").read_text()
    lines = re.findall(r"^docker compose exec -T postgres (pg_\w+ .*)$", text, re.MULTILINE)
    address = urlsplit(postgres)
    known = {"PGHOST": "127.0.0.1", "PGPORT": str(address.port), "PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}
    place = {**os.environ, **known, "PATH": f"{Path(binary('pg_dump')).parent}{os.pathsep}{os.environ['PATH']}"}

    def do(line: str) -> None:
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=place, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    with psycopg.connect(postgres, autocommit=True) as database:
        database.execute("CREATE TABLE old (id int PRIMARY KEY)")
        database.execute("INSERT INTO old VALUES (1)")
    do(lines[0])
    with psycopg.connect(postgres, autocommit=True) as database:
        database.execute("CREATE TABLE new (id int REFERENCES old)")
        database.execute("INSERT INTO old VALUES (2)")
    do(lines[1])
    with psycopg.connect(postgres, autocommit=True) as database:
        assert database.execute("SELECT id FROM old").fetchall() == [(1,)]
        tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert tables == [("old",)]
        database.execute("DROP TABLE old")


class Server(NamedTuple):
    """Where a server is, for its administrator and for a member of the lab."""

    address: str
    admin: str
    member: str


@pytest.fixture(scope="module")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow as compose.yaml starts it, but on a free port of this machine and with one worker."""
    service, folder, port = compose()["services"]["mlflow"], tmp_path_factory.mktemp("server"), free_port()
    assert [volume.split(":")[1] for volume in service["volumes"]] == ["/data", "/etc/mlflow-auth.ini"]
    here = {
        "/data": str(folder),
        "/etc/mlflow-auth.ini": str(folder / "auth.ini"),
        "0.0.0.0": "127.0.0.1",
        "port=5000": f"port={port}",
        "workers=2": "workers=1",
        "postgres:5432/mlflow": postgres.partition("@")[2],
    }

    def moved(text: str) -> str:
        for there, place in here.items():
            text = text.replace(there, place)
        return text

    (folder / "auth.ini").write_text(moved((FOLDER / "auth.ini").read_text()))
    assert service["command"][0] == "mlflow"
    command = [sys.executable, "-m", *map(moved, service["command"])]
    place = {**os.environ, **{name: moved(value) for name, value in service["environment"].items()}}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=place, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    address = f"127.0.0.1:{port}"

    def healthy() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with suppress(OSError), urllib.request.urlopen(f"http://{address}/health", timeout=5):
            return True
        return False

    try:
        wait(healthy)
        admin = f"admin:{SECRETS['MLFLOW_ADMIN_PASSWORD']}"
        create_user(address, admin, "member", "a-long-password")
        yield Server(f"http://{address}", f"http://{admin}@{address}", f"http://member:a-long-password@{address}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def create_user(address: str, admin: str, name: str, password: str) -> None:
    """Do what the README's line with curl does."""
    request = urllib.request.Request(
        f"http://{address}/api/2.0/mlflow/users/create",
        data=json.dumps({"username": name, "password": password}).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Basic {base64.b64encode(admin.encode()).decode()}",
        },
    )
    with urllib.request.urlopen(request, timeout=60):
        pass


def sent_bytes(run: Path) -> int:
    with suppress(OSError, ValueError):
        return int(json.loads((run / "mlflow.json").read_text())["sent_bytes"])
    return 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_lab_moves_to_its_server_and_loses_nothing(
    server: Server,
    postgres: str,
    tmp_path: Path,
    make_runs: Callable[..., tuple[Path, list[Path]]],
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psycopg
    from mlflow import MlflowClient

    parent, children = make_runs(tmp_path / "runs", numbers=3000)
    command = [sys.executable, "-W", "ignore", "-m", "wsseg", "sync", str(tmp_path / "runs"), "--to", server.member]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path)
    wait(lambda: sent_bytes(parent) > 0 or killed.poll() is not None)
    killed.kill()
    killed.communicate()
    assert 0 < sent_bytes(parent) < (parent / "record.jsonl").stat().st_size, "it was over before it could be killed"
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"sent to {server.address}" in done.stdout
    assert "a-long-password" not in done.stdout + (parent / "mlflow.json").read_text()

    client = MlflowClient(tracking_uri=server.admin)
    (experiment,) = (e for e in client.search_experiments() if e.name == "compared")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "parent": "FINISHED", "child 0": "FINISHED", "child 1": "KILLED",
    }  # fmt: skip
    assert runs["child 0"].data.params == {"data.annotation": "labelsTr", "seed": "0"}
    assert {run.data.tags.get("mlflow.parentRunId") for name, run in runs.items() if name != "parent"} == {
        runs["parent"].info.run_id
    }
    fetched = client.download_artifacts(runs["parent"].info.run_id, "weights/big.bin", str(tmp_path))
    assert Path(fetched).read_bytes() == (parent / "big.bin").read_bytes()
    with psycopg.connect(postgres) as database:
        counts = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("runs", "metrics")]
    assert counts == [3, 3 * 3000]

    sync([children[0]], server.member, recorder)
    assert recorder.tables[f"sent to {server.address}"][1:] == [
        ["runs/child 0", "complete before", "0", "0", "0", "FINISHED"]
    ]
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DataError, match="cannot be reached") as told:
        sync([parent], server.member.replace("a-long", "another"), recorder)
    assert "password" not in str(told.value)
