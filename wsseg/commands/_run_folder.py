"""The directory of a run: its files, and starting or continuing a run."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsseg.commands._run_files import OPENED, SCORE_AGAIN, file_hashes, links_out, read_run_file, sha256
from wsseg.commands._run_length import ITERATIONS, length_faults
from wsseg.core.axes import CANONICAL
from wsseg.core.errors import DataError, RecipeError, and_more
from wsseg.core.files import sweep, write_safely
from wsseg.core.locks import claim
from wsseg.core.plain_json import parse_json
from wsseg.core.reporter import Reporter
from wsseg.core.sealed import sealed_json, write_with_sidecar
from wsseg.data.cache_entry import CachedCase
from wsseg.evaluation.scoring import Row, read_csv
from wsseg.recipe.outside import OutsidePlugin, faults_against, read_records
from wsseg.recipe.reading import recipe_from
from wsseg.recipe.schema import Recipe

WRITTEN_FOLDERS = ("checkpoints", "predictions", "overlays", "plugins")
"""Folders of a run in which a killed training may leave incomplete files."""


@dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    Files: recipe.yaml (as typed), resolved.json (with every default), plan.json (split, fingerprint, preprocessing,
    planned settings), opened.json (each opened case and its purposes), record.jsonl (everything that was logged),
    checkpoints/, weights.safetensors + weights.json, predictions/, overlays/, scores.csv, finished.json. The JSON files
    hold a checksum of themselves; finished.json also holds those of the other files.

    Attributes:
        path: The directory.
    """

    path: Path

    @staticmethod
    @contextmanager
    def open(recipe: Recipe, run_dir: Path | None, resume: bool, report: Reporter) -> Iterator[RunFolder]:
        """Begin a run, or continue one. For the body the directory belongs to this process; see `claim`.

        Raises:
            RecipeError: The directory holds a run and `resume` is False, or holds a run of another recipe.
            DataError: Another process works in the directory.
        """
        run = RunFolder(run_dir or _default(recipe.name, resume))
        untouched = resume and run.begun and run.finished and run.former_iterations(recipe) is None
        with nullcontext() if untouched else run._claimed():
            if run.begun:
                if not resume:
                    raise RecipeError(
                        f"{run.path}: holds a run already; continue it (--resume), or choose another --run-dir"
                    )
                run._check_same(run.with_planned_settings(recipe), run.read("resolved.json"))
                if faults := [*run.plugin_faults(), *run.result_faults()]:
                    raise RecipeError(faults)
            elif any((run.path / "checkpoints").glob("iteration_*")):
                raise RecipeError(
                    f"{run.path / 'resolved.json'}: is missing, but there are checkpoints of a run; restore it from a "
                    "copy, or choose another --run-dir"
                )
            elif resume:
                report.say(f"{run.path} holds no run yet, so a new one begins")
            yield run

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        """Claim the directory, which is made if it is missing, and remove what killed processes left in it."""
        if links := [entry.name for entry in links_out(self.path)]:
            raise RecipeError(
                f"{self.path}: {and_more(links)} lead out of the run; replace the links by what they lead to"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecipeError(f"{self.path}: cannot be made ({error}); choose another --run-dir") from error
        with claim(self.path, "training"):
            for folder in (self.path, *(self.path / name for name in WRITTEN_FOLDERS)):
                sweep(folder)
            yield

    @property
    def begun(self) -> bool:
        """Whether the directory holds a run."""
        return (self.path / "resolved.json").is_file()

    def former_iterations(self, recipe: Recipe) -> int | None:
        """Return the length of the run so far if the recipe names another `training.iterations`, else None."""
        if not self.begun:
            return None
        before = recipe_from(self.read("resolved.json")).training.iterations
        return None if before == recipe.training.iterations else before

    def with_planned_settings(self, recipe: Recipe) -> Recipe:
        """Return the recipe completed by the settings that were planned when the run started.

        A run that was started before `data.orientation` existed keeps its canonical order.
        """
        if not self.begun:
            return recipe
        if recipe.data.orientation == "auto" and "orientation" not in self.read("resolved.json").get("data", {}):
            data = recipe.data.model_copy(update={"orientation": "canonical"})
            recipe = recipe.model_copy(update={"data": data})
        if not (self.path / "plan.json").is_file():
            return recipe
        planned = self.read("plan.json").get("planned", {})
        return recipe.completed(planned.get("patch_size"), planned.get("features", {}))

    @property
    def finished(self) -> bool:
        """Whether the run has been trained and scored. Raises RecipeError if finished.json is damaged."""
        if not (self.path / "finished.json").is_file():
            return False
        self.read("finished.json")
        return True

    @property
    def scores(self) -> list[Row]:
        """The rows of scores.csv: one per held-out case and class; empty if no case was held out.

        Raises:
            DataError: The run has not finished, or the file is damaged.
        """
        if not self.finished:
            raise DataError(f"{self.path}: has not finished; continue it (wsseg train ... --resume)")
        if faults := self.damaged_files("scores.csv", "predictions/"):
            raise DataError(faults)
        path = self.path / "scores.csv"
        return read_csv(path) if path.is_file() else []

    def damaged_files(self, *names: str) -> list[str]:
        """Return a fault for each file of the finished run that has changed since, or is missing.

        Missing predictions and pictures are no fault: they may have been removed to save space.

        Args:
            names: Beginnings of the paths to check; none checks all files that finished.json lists.
        """
        hashes = self.read("finished.json").get("sha256", {})
        chosen = [name for name in hashes if name.startswith(names or "")]
        missing = [name for name in chosen if not (self.path / name).is_file()]
        changed = [name for name in chosen if name not in missing and sha256(self.path / name) != hashes[name]]
        needed = [name for name in missing if not name.startswith(("predictions/", "overlays/"))]
        return [
            *(f"{self.path / name}: is missing; {SCORE_AGAIN}" for name in needed),
            *(f"{self.path / name}: damaged (its checksum differs); {SCORE_AGAIN}" for name in changed),
        ]

    def result_faults(self) -> list[str]:
        """Return a fault for each result of a finished run that is missing or damaged."""
        if not self.finished:
            return []
        weights = ("weights.json", "weights.safetensors")
        missing = [name for name in weights if not (self.path / name).is_file()]
        if missing:
            return [f"{self.path}: has finished, but {' and '.join(missing)} are missing; {SCORE_AGAIN}"]
        return self.damaged_files()

    def finish(self, iterations: int, scores: Mapping[str, float]) -> None:
        """Write finished.json: the mean scores, and a checksum of every file that does not change any more."""
        self.write("finished.json", {"iterations": iterations, "scores": scores, "sha256": file_hashes(self.path)})

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write plain data as JSON with a checksum."""
        path = self.path / name
        if name == OPENED:  # its keys are cases
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            write_with_sidecar(path, text.encode("utf-8", "backslashreplace"))
        else:
            write_safely(path, sealed_json(content))
        return path

    def read(self, name: str, *keys: str) -> dict[str, Any]:
        """Read a file that `write` wrote. Raises RecipeError if it is damaged, or lacks one of `keys`."""
        try:
            return read_run_file(self.path / name, keys)
        except DataError as error:
            raise RecipeError(error.faults) from error

    def write_plan(self, plan: Mapping[str, Any]) -> Path:
        """Write plan.json, after `check_plan`."""
        self.check_plan(plan)
        before = self.read("plan.json") if (self.path / "plan.json").is_file() else {}
        planned = {"planned": before["planned"]} if "planned" in before else {}
        return self.write("plan.json", {**planned, **plan})

    def check_plan(self, plan: Mapping[str, Any]) -> None:
        """Check in every process that the data have not changed since the run started.

        Raises:
            RecipeError: Cases, their content, the split or the normalisation have changed.
        """
        if (self.path / "plan.json").is_file():
            without_key = {"orientation": CANONICAL.record()}  # the only order of plans without the key
            before = without_key | self.read("plan.json")
            changed = [key for key in plan if before.get(key) != parse_json(json.dumps(plan[key]))]
            if changed:
                what = "; ".join(_changes(key, before.get(key), parse_json(json.dumps(plan[key]))) for key in changed)
                raise RecipeError(f"{self.path}: the data have changed since the run began ({what}); begin a new run")

    def write_recipe(self, recipe: Recipe, source: Path, overrides: Iterable[str]) -> list[Path]:
        """Write recipe.yaml (the file, and the overrides as comments below it) and resolved.json."""
        typed = self.path / "recipe.yaml"
        shutil.copyfile(source, typed)
        with typed.open("a", encoding="utf-8") as file:
            file.writelines(f"# command line: {override}\n" for override in overrides)
        return [typed, self.write("resolved.json", recipe.resolved())]

    def note_opened(self, cases: Iterable[CachedCase], purpose: Literal["training", "validation", "scoring"]) -> None:
        """Add cases and the purpose they were opened for to opened.json; `compare` rejects runs with test leakage."""
        entries = self.read(OPENED) if (self.path / OPENED).is_file() else {}
        for case in (stored.case for stored in cases):
            entry = entries.setdefault(case.name, {"patient": case.patient, "for": []})
            entry["for"] = sorted({*entry["for"], purpose})
        self.write(OPENED, entries)

    def write_plugins(self, plugins: Sequence[OutsidePlugin]) -> list[Path]:
        """Write name, version and sha256 of external plug-ins, and a copy of those that are single files."""
        if not plugins:
            return []
        copies = [self.path / "plugins" / f"{plugin.name}.py" for plugin in plugins if not plugin.version]
        for copy, plugin in zip(copies, (plugin for plugin in plugins if not plugin.version), strict=True):
            write_safely(copy, plugin.path.read_bytes())
        return [self.write("plugins.json", {"plugins": [plugin.record() for plugin in plugins]}), *copies]

    def plugin_faults(self) -> list[str]:
        """Return a fault for each external plug-in of the run that is missing or has changed."""
        file = self.path / "plugins.json"
        if not file.is_file():
            return []
        return faults_against(read_records(self.read(file.name).get("plugins"), file), self.path)

    def _check_same(self, recipe: Recipe, resolved: Mapping[str, Any]) -> None:
        """Raise RecipeError with every setting that differs from those the run began with, except its length."""
        before = recipe_from(resolved)
        if before.fingerprint() == recipe.fingerprint():
            return
        old, new = flat(before.decisive()), flat(recipe.decisive())
        faults = [
            f"{self.path}: began with {key}={old.get(key)}, now it is {new.get(key)}; resume with the same recipe"
            for key in sorted({*old, *new} - {ITERATIONS})
            if old.get(key) != new.get(key)
        ]
        if old[ITERATIONS] != new[ITERATIONS]:
            faults += length_faults(self.path, self.finished, new[ITERATIONS])
        if faults:
            raise RecipeError(faults)


def flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as dotted keys."""
    dotted: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            dotted |= flat(value, f"{prefix}{key}.")
        else:
            dotted[f"{prefix}{key}"] = value
    return dotted


def _changes(key: str, before: Any, now: Any) -> str:
    """Return the name of a changed entry of plan.json; of an entry by case, with the cases that changed."""
    if (
        not isinstance(before, Mapping)
        or not isinstance(now, Mapping)
        or key not in ("content", "training", "held_out")
    ):
        return key
    kinds = {
        "changed": [case for case in now if case in before and before[case] != now[case]],
        "new": [case for case in now if case not in before],
        "missing": [case for case in before if case not in now],
    }
    return f"{key}: " + ", ".join(f"{kind} {and_more(cases, 10)}" for kind, cases in kinds.items() if cases)


def _default(name: str, resume: bool) -> Path:
    """Return runs/NAME/TIME; to resume, the newest run of that name."""
    folder = Path("runs") / name
    if resume:
        runs = sorted(path.parent for path in folder.glob("*/resolved.json"))
        if not runs:
            raise RecipeError(f"{folder}: holds no run to resume; leave out --resume, or name a run with --run-dir")
        return runs[-1]
    path = folder / time.strftime("%Y%m%d-%H%M%S")
    return path if not path.exists() else path.with_name(f"{path.name}-{time.time_ns() % 1000:03d}")
