"""The address of the tracking store: its default, its form without secrets, and the health of a server."""

from __future__ import annotations

import base64
import os
import re
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wsseg.core.places import user_folder

TIMEOUT_S = 5


def default_store(root: Path | None = None) -> str:
    """Return the address of the local store: mlflow/mlflow.db in a clone of wsseg, else in the user's data directory.

    Args:
        root: Folder that may be a clone; by default the one that contains the package.
    """
    root = root or Path(__file__).resolve().parents[2]
    folder = root / "mlflow"
    if not (_is_clone(root) and folder.is_dir() and os.access(folder, os.W_OK)):
        folder = user_folder("data")
    return f"sqlite:///{(folder / 'mlflow.db').as_posix()}"


def store_address(uri: str | None = None) -> str:
    """Return the address of the store to use: `uri`, else MLFLOW_TRACKING_URI, else the local store."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or default_store()
    return uri.rstrip("/") if is_server(uri) else uri


def local_folder(uri: str) -> Path | None:
    """Return the folder of a store in a SQLite file; None for any other store."""
    kind, _, path = uri.partition(":///")
    return Path(path.split("?")[0]).resolve().parent if kind.startswith("sqlite") and path else None


def is_server(uri: str) -> bool:
    """Whether the store is reached over HTTP."""
    return uri.lower().startswith(("http://", "https://"))


def public(uri: str) -> str:
    """Return an address without user, password and query. That of a SQLite file has no secrets."""
    if uri.startswith("sqlite"):
        return uri
    return re.sub(r"(?<=//)\S*@", "", uri).split("?")[0]  # up to the last @: a password may contain / and @


def reason(error: BaseException, uri: str) -> str:
    """Return the root cause of an error as one short line, without the secrets of the address."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    text = str(error).strip() or type(error).__name__
    password = re.search(r"//[^:]*:(.*)@", uri)
    for secret in {password[1], unquote(password[1])} - {""} if password else ():
        text = text.replace(secret, "***")
    return public(text.splitlines()[0])[:160]


def check_health(uri: str) -> None:
    """Check the health of a server.

    Raises:
        OSError: It does not answer within 5 s, or with a server error.
    """
    parts = urlsplit(uri)
    request = urllib.request.Request(f"{public(uri).rstrip('/')}/health")
    if parts.password:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:
            raise


def _is_clone(root: Path) -> bool:
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == "wsseg")
