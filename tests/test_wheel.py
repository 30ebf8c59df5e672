"""The wheel, installed where there is no clone."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_recipes_and_protocols_come_with_the_wheel(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: object) -> str:
        result = subprocess.run(
            [str(word) for word in words], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("wsseg-*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    scripts = tmp_path / "venv" / "bin"
    site = run(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps", "--no-index", wheel)
    # The dependencies are those of the environment that runs the tests.
    (Path(site) / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib"))

    where = run(scripts / "python", "-c", "import wsseg; print(wsseg.__file__)")
    assert where.startswith(site), "the wheel and not the clone"
    listed = "".join(run(scripts / "wsseg", "recipes").split())  # a long path is broken into lines
    assert "npc_scribble" in listed and "scribblebench" in listed and "_shipped" in listed
    run(scripts / "wsseg", "recipes", "--copy", "npc_scribble", ".")
    assert (tmp_path / "npc_scribble.yaml").read_text() == (ROOT / "recipes/npc_scribble.yaml").read_text()
    run(scripts / "wsseg", "recipes", "--copy", "strokes", ".")
    assert run(scripts / "wsseg", "--version").startswith("wsseg ")
