"""The address of the store, its secrets, and the health of a server."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.error import HTTPError

import pytest

from wsseg.tracking.address import check_health, default_store, local_folder, public, reason


def test_the_store_of_a_clone_lies_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    elsewhere = f"sqlite:///{tmp_path}/data/wsseg/mlflow.db"
    assert default_store(tmp_path) == elsewhere
    (tmp_path / "mlflow").mkdir()
    assert default_store(tmp_path) == elsewhere
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"')
    assert default_store(tmp_path) == elsewhere
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "wsseg"')
    assert default_store(tmp_path) == f"sqlite:///{tmp_path}/mlflow/mlflow.db"


@pytest.mark.skipif(sys.platform != "linux", reason="the folder is that of Linux")
def test_the_users_store_lies_in_the_data_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store(tmp_path) == f"sqlite:///{tmp_path}/.local/share/wsseg/mlflow.db", "as in versions before"


def test_a_local_store_has_a_folder(tmp_path: Path) -> None:
    assert local_folder(f"sqlite:///{tmp_path}/a/mlflow.db?timeout=5") == tmp_path / "a"
    assert local_folder("http://host:5000") is None
    assert local_folder("postgresql://host/db") is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://joe:pass%40word@host:5000/a", "http://host:5000/a"),
        ("http://joe:p@ss@host/a?token=x", "http://host/a"),
        ("http://joe:p@ss/wo?rd@host/a", "http://host/a"),
        ("postgresql://joe:secret@host/db?password=secret", "postgresql://host/db"),
        ("sqlite:////a@b/mlflow.db", "sqlite:////a@b/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert public(uri) == shown


def test_a_reason_is_the_root_without_secrets() -> None:
    uri = "http://joe:pass%40word@host:5000"
    try:
        try:
            raise OSError(f"no route with pass@word to {uri}\nand more")
        except OSError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        text = reason(error, uri)
    assert text == "no route with *** to http://host:5000"
    assert reason(TimeoutError(), uri) == "TimeoutError"
    assert reason(ValueError("no port 'p@ss/word'"), "http://joe:p@ss/word@host") == "no port '***'"
    assert reason(ValueError("Invalid IPv6 URL"), "http://[::1") == "Invalid IPv6 URL"


class Answer(BaseHTTPRequestHandler):
    code = 200
    asked: str | None = None

    def do_GET(self) -> None:
        Answer.asked = f"{self.path} {self.headers['Authorization']}"
        self.send_response(Answer.code)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.mark.parametrize("code", [200, 401, 404, 500, 503])
def test_a_server_is_well_unless_it_says_no(server: str, code: int) -> None:
    Answer.code = code
    if code < 500:
        check_health(f"http://joe:p%40ss@{server}/base/")
    else:
        with pytest.raises(HTTPError):
            check_health(f"http://joe:p%40ss@{server}/base/")
    assert Answer.asked == "/base/health Basic am9lOnBAc3M="
