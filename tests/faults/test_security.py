"""Files of strangers: nothing is executed, nothing is written outside of the output folder (goal R8)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .hostile import HOSTILE, Hostile, sound_text
from .tiny import Ended, Tiny


def run_hostile(tiny: Tiny, hostile: Hostile) -> tuple[Ended, list[str]]:
    """Run the command that reads a hostile file; return how it ended, and what it must not have done."""
    home = tiny.folder / "home"
    out = home / "out"
    out.mkdir(parents=True)
    canary = tiny.folder / "canary"
    root = tiny.root if hostile.kind in ("recipe", "weights") else tiny.dataset()
    run = tiny.run_copy("home/run") if hostile.kind == "weights" else tiny.run
    text = hostile.make(sound_text(hostile.kind, root, run)).replace("CANARY", str(canary))
    paths = {
        "recipe": home / "tiny.yaml",
        "dataset": root / "dataset.json",
        "annotation": root / "scribblesTr/annotation.json",
        "weights": run / "weights.json",
    }
    recipe = tiny.recipe(root)
    paths[hostile.kind].write_text(text, errors="surrogatepass")
    if hostile.kind == "weights":
        words: list[object] = ["predict", run, root / "imagesTs", out / "predicted", "--probabilities"]
    else:
        recipe = paths["recipe"] if hostile.kind == "recipe" else recipe
        words = ["train", recipe, "training.iterations=1", "--run-dir", out / "run"]
    log = tiny.folder / "audit.txt"
    env = tiny.env | {"HOME": str(home), "TMPDIR": str(home), "WSSEG_CACHE": str(home / "cache")}
    before = set(tiny.folder.rglob("*"))
    child = tiny.server.start(words, env, tiny.folder / "output.txt", {"audit": str(log), "allowed": str(home)})
    ended = child.wait()
    did = log.read_text().splitlines() if log.exists() else []
    known = {log, tiny.folder / "output.txt"}
    did += [
        f"made {path}"
        for path in set(tiny.folder.rglob("*")) - before - known
        if not path.is_relative_to(out) and not path.relative_to(home).parts[0].startswith(("cache", "torchinductor"))
    ]
    return ended, did


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(h, marks=() if n % 8 == 0 else pytest.mark.slow, id=f"{h.kind} {h.name}")
        for n, h in enumerate(HOSTILE)
    ],
)
def test_a_hostile_file_executes_nothing_and_writes_nothing_outside(
    tiny: Tiny, count: Callable[..., None], hostile: Hostile
) -> None:
    ended, did = run_hostile(tiny, hostile)
    held = not did and not ended.traceback and ended.code in (0, 2) and "\x1b" not in ended.output
    count("R8", int(held), 1, hostile.kind)
    assert held, f"{did}\n{ended}"
    assert ended.code == 0 or (ended.errors and all(len(line) < 4100 for line in ended.errors))


def test_there_are_150_hostile_files() -> None:
    assert len(HOSTILE) == 150
    assert len({(h.kind, h.name) for h in HOSTILE}) == 150


def test_the_audit_hook_sees_what_it_looks_for(tiny: Tiny) -> None:
    """Without this, an audit that sees nothing would hold."""
    plugin = tiny.folder / "evil.py"
    plugin.write_text(
        f"import os, pathlib, pickle, subprocess, sys\npathlib.Path({str(tiny.folder / 'written')!r}).write_text('')\n"
        "subprocess.run(['true'])\nos.system('true')\npickle.loads(pickle.dumps(pathlib.Path('x')))\nexec('1')\n"
    )
    log, home = tiny.folder / "audit.txt", tiny.folder / "home"
    home.mkdir()
    words = ["train", tiny.recipe(), "--plugin", plugin, "--run-dir", home / "run"]
    tiny.server.start(words, tiny.env, tiny.folder / "output.txt", {"audit": str(log), "allowed": str(home)}).wait()
    seen = log.read_text()
    for event in ("open ", "subprocess.Popen", "os.system", "pickle.find_class", "exec "):
        assert event in seen, seen


@pytest.mark.parametrize("name", ["../../x", "..", "a/b", "/abs", ""])
@pytest.mark.parametrize("kind", ["class", "link"])
def test_predictions_of_a_foreign_run_stay_in_their_folder(tiny: Tiny, kind: str, name: str) -> None:
    run, out = tiny.run_copy(), tiny.folder / "out"
    if kind == "class":
        notes = json.loads((run / "weights.json").read_text())
        notes["classes"][1] = name
        (run / "weights.json").write_text(json.dumps(notes))
    else:
        (tiny.folder / "outside").mkdir()
        out.mkdir()
        (out / "probabilities").symlink_to(tiny.folder / "outside")
    ended = tiny.wsseg("predict", run, tiny.root / "imagesTs", out, "--probabilities")
    assert ended.code == 2 and len(ended.errors) == 1, ended.output
    assert ("weights.json" if kind == "class" else "probabilities") in ended.errors[0]
    assert not list(tiny.folder.glob("outside/*")) and not list(tiny.folder.rglob("x"))


def test_a_run_whose_folders_are_links_out_of_it_is_not_written(tiny: Tiny) -> None:
    run, outside = tiny.unfinished(), tiny.folder / "outside"
    outside.mkdir()
    (run / "predictions").symlink_to(outside)
    ended = tiny.train("--resume", run=run)
    assert ended.code == 2 and "predictions" in ended.errors[0] and "replace the links" in ended.errors[0]
    assert not list(outside.iterdir())


def test_a_record_sends_no_file_from_outside_of_the_run(tmp_path: Path) -> None:
    from wsseg.tracking.sending import Sender

    sent: list[str] = []

    class Store:
        uri = "sqlite:///x"

        def __getattr__(self, name: str) -> Callable[..., object]:
            return lambda *arguments: sent.append(str(arguments[1])) if name == "file" else True

    (tmp_path / "secret").write_text("s")
    run = tmp_path / "run"
    run.mkdir()
    (run / "inside").write_text("i")
    (run / "link").symlink_to(tmp_path / "secret")
    (run / "mlflow.json").write_text(json.dumps({"tracking_uri": "sqlite:///x", "run_id": "1", "experiment_id": "2"}))
    files = ["inside", "../secret", str(tmp_path / "secret"), "link"]
    lines = [{"time": "2026-01-01T00:00:00+00:00", "file": name, "folder": ""} for name in files]
    lines.append({"time": "2026-01-01T00:00:00+00:00", "file": "inside", "folder": "../../x"})
    (run / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Sender(run / "record.jsonl", Store(), lambda text: None).send()  # type: ignore[arg-type]
    assert sent == [str(run / "inside")]


@pytest.mark.parametrize(
    "text",
    ["[]", '{"elsewhere": 1}', '{"tracking_uri": "sqlite:///x", "sent_bytes": "x"}', "[" * 100_000, '{"refused": [1]}'],
)
def test_a_damaged_state_of_sending_is_no_state(tmp_path: Path, text: str) -> None:
    from wsseg.tracking.sending import stored_ids

    (tmp_path / "mlflow.json").write_text(text)
    assert stored_ids(tmp_path, "sqlite:///x") is None
