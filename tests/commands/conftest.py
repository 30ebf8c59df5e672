"""The command line, called in this process."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from wsseg.cli import app


@pytest.fixture
def run_wsseg() -> Callable[..., Any]:
    """Return a function that runs a command and checks its exit code: `run_wsseg("check", recipe, code=2)`."""

    def run(*words: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, f"{result.output}\n{result.stderr}\n{result.exception!r}"
        return result

    return run
