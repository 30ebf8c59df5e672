"""A run's directory: what lies where in it, and how it is begun or gone on with."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsseg.core.errors import RecipeError
from wsseg.core.files import write_safely
from wsseg.core.reporter import Reporter
from wsseg.recipe.reading import recipe_from
from wsseg.recipe.schema import Recipe


@dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    recipe.yaml (as it was typed), resolved.json (every default written out), plan.json (split, fingerprint,
    preprocessing, what was planned), opened.json (every case that was opened, and for what), record.jsonl (all that
    was logged), checkpoints/, weights.safetensors + weights.json, predictions/, overlays/, scores.csv, finished.json.
    """

    path: Path

    @staticmethod
    def open(recipe: Recipe, run_dir: Path | None, resume: bool, report: Reporter) -> RunFolder:
        """Begin a run, or go on with one.

        Raises:
            RecipeError: The directory holds a run and `--resume` was not given, or holds a run of another recipe.
        """
        path = run_dir or _default(recipe.name, resume)
        run = RunFolder(path)
        kept = path / "resolved.json"
        if kept.is_file():
            if not resume:
                raise RecipeError(f"{path}: holds a run already; go on with it (--resume), or choose another --run-dir")
            run._check_same(run.as_begun(recipe), run.read("resolved.json"))
        elif resume:
            report.say(f"{path} holds no run yet, so a new one begins")
        try:
            path.mkdir(parents=True, exist_ok=run_dir is not None or resume)
        except OSError as error:
            raise RecipeError(f"{path}: cannot be made ({error}); choose another --run-dir") from error
        return run

    def as_begun(self, recipe: Recipe) -> Recipe:
        """Return the recipe with what was planned when the run began, in place of what it leaves out."""
        if not (self.path / "resolved.json").is_file() or not (self.path / "plan.json").is_file():
            return recipe
        planned = self.read("plan.json").get("planned", {})
        return recipe.completed(planned.get("patch_size"), planned.get("features", {}))

    @property
    def finished(self) -> bool:
        """Whether the run came to its end, scores and all."""
        return (self.path / "finished.json").is_file()

    def write(self, name: str, content: Any) -> Path:
        """Write plain data as JSON."""
        path = self.path / name
        write_safely(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        return path

    def read(self, name: str) -> dict[str, Any]:
        """Read what `write` wrote. Raises RecipeError where it is damaged."""
        try:
            found: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecipeError(f"{self.path / name}: cannot be read ({error}); begin a new run") from error
        return found

    def keep_plan(self, plan: Mapping[str, Any]) -> Path:
        """Keep what was decided from the data, checked as by `check_plan`."""
        self.check_plan(plan)
        before = self.read("plan.json") if (self.path / "plan.json").is_file() else {}
        kept = {"planned": before["planned"]} if "planned" in before else {}
        return self.write("plan.json", {**kept, **plan})

    def check_plan(self, plan: Mapping[str, Any]) -> None:
        """See that a run that goes on meets the same data again, and that all its processes do.

        Raises:
            RecipeError: Cases, their content, the split or the normalisation are not those that the run began with.
        """
        if (self.path / "plan.json").is_file():
            before = self.read("plan.json")
            changed = [key for key in plan if before.get(key) != json.loads(json.dumps(plan[key]))]
            if changed:
                what = ", ".join(changed)
                raise RecipeError(f"{self.path}: the data are not those it was begun with ({what}); begin a new run")

    def keep_recipe(self, recipe: Recipe, source: Path, overrides: Iterable[str]) -> list[Path]:
        """Keep the recipe: the file as it was, the overrides below it as a comment, and all of it resolved."""
        typed = self.path / "recipe.yaml"
        shutil.copyfile(source, typed)
        with typed.open("a", encoding="utf-8") as file:
            file.writelines(f"# command line: {override}\n" for override in overrides)
        return [typed, self.write("resolved.json", recipe.resolved())]

    def opened(self, cases: Mapping[str, str], reason: str) -> None:
        """Record that cases (name -> patient) were opened, and for what: training, validation or scoring."""
        known = self.read("opened.json") if (self.path / "opened.json").is_file() else {}
        for name, patient in cases.items():
            entry = known.setdefault(name, {"patient": patient, "for": []})
            entry["for"] = sorted({*entry["for"], reason})
        self.write("opened.json", known)

    def _check_same(self, recipe: Recipe, kept: Mapping[str, Any]) -> None:
        before = recipe_from(kept)
        if before.fingerprint() == recipe.fingerprint():
            return
        old, new = flat(before.decisive()), flat(recipe.decisive())
        faults = [
            f"{self.path}: was begun with {key}={old.get(key)}, now it is {new.get(key)}; resume with the same recipe"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
        raise RecipeError(faults)


def flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as dotted keys."""
    found: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _default(name: str, resume: bool) -> Path:
    """Return runs/NAME/TIME; to resume, the newest there is."""
    folder = Path("runs") / name
    if resume:
        begun = sorted(path.parent for path in folder.glob("*/resolved.json"))
        if not begun:
            raise RecipeError(f"{folder}: holds no run to resume; leave --resume out, or name one with --run-dir")
        return begun[-1]
    path = folder / time.strftime("%Y%m%d-%H%M%S")
    return path if not path.exists() else path.with_name(f"{path.name}-{time.time_ns() % 1000:03d}")
