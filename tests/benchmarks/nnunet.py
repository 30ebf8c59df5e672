"""nnU-Net v2 beside wsseg: the same cases, strokes or masks, patch, batch, network shape and number of iterations.

    python tests/benchmarks/nnunet.py --recipe recipes/hippocampus_full.yaml --root DATASET --iterations 500 \
        --out runs/nnunet/hippocampus_full [KEY=VALUE ...]

The script
1. installs nnU-Net into an environment of its own,
2. converts the dataset, lets nnU-Net plan, and edits the plan,
3. trains both tools on the training cases of the recipe's fold,
4. predicts the held-out cases with the final weights, with and without mirroring,
5. scores all predictions with `wsseg evaluate` on the dense references.

OUT/table.csv and OUT/table.md have one row per tool and kind of prediction. OUT/scores.csv and OUT/arms.json have the
scores of nnU-Net for `keep_results.py`. The same command continues after a stop: OUT/done has a file per finished step,
OUT/logs the output.

nnU-Net keeps its own preprocessing, augmentation, sampling, loss (Dice + cross-entropy, deep supervision, ignore label)
and optimiser (SGD 0.01 with polynomial decay per epoch, unless --adamw). It sets no seed. Its residual encoder begins
with a stem convolution that ours lacks. Training seconds are those of the iterations; prediction seconds are those of
the whole command. Compare times only where both tools had the machine to themselves.

nnU-Net 2.6.0 to 2.6.2 must not be used: they did not sample strokes because of a fault of theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_layout import CONFIGURATION, PLANS, edit_plan, link_held_out, topology_of, write_raw
from nnunet_tables import write_scores, write_table
from steps import Command, Steps, done_so_far, read_record, summed

from wsseg.assembly import autoconfigure
from wsseg.assembly.data import PreparedData, prepare
from wsseg.core.errors import FaultsError
from wsseg.core.terminal import Terminal
from wsseg.evaluation import scoring
from wsseg.recipe.reading import read_recipe
from wsseg.recipe.schema import Recipe
from wsseg.training.optimization import choose_device

NNUNET = "2.8.1"
"""The version that is installed."""
HERE = Path(__file__).resolve().parent
DATASET = "Dataset001_benchmark"
MOST_EPOCHS = 50
"""nnU-Net lowers its learning rate once per epoch; its own schedule has 1,000 epochs of 250 iterations."""


def budget_of(iterations: int) -> tuple[int, int]:
    """Return (epochs, iterations per epoch) whose product is `iterations`, with the most epochs up to MOST_EPOCHS."""
    epochs = next(n for n in range(min(MOST_EPOCHS, iterations), 0, -1) if iterations % n == 0)
    return epochs, iterations // epochs


@dataclass(frozen=True)
class Comparison:
    """One recipe, trained with both tools."""

    recipe: Recipe
    path: Path
    overrides: list[str]
    prepared: PreparedData
    out: Path
    env: Path
    processes: int
    bf16: bool
    adamw: bool
    steps: Steps

    @property
    def device(self) -> str:
        """The device of both tools: the recipe's, or the GPU if there is one."""
        return choose_device(self.recipe.training.device).type

    def nnunet(self) -> list[dict[str, Any]]:
        """Install, convert, plan, preprocess, train, predict and score nnU-Net; return its rows."""
        steps, home = self.steps, self.out / "nnunet"
        steps.once("environment", self._install)
        raw = home / "raw" / DATASET
        data = steps.once("raw", lambda: write_raw(self.prepared, raw, steps.report))
        preprocessed = home / "preprocessed" / DATASET
        steps.once("plan", lambda: self._plan(preprocessed))
        steps.once("preprocess", lambda: self._preprocess(preprocessed, data["training"]))
        trained = steps.once("nnunet_train", self._train)
        device = self.device
        sequential = ["-npp", 0, "-nps", 0] if device == "cpu" else ["-npp", self.processes, "-nps", self.processes]
        precision = "fp16" if device == "cuda" else "bf16" if self.bf16 else "fp32"
        rows = []
        for kind, words in (("plain", ["--disable_tta"]), ("mirrored", [])):
            out = home / f"predictions_{kind}"
            command = [
                *self._launch("predict"), "-i", raw / "imagesTs", "-o", out, "-d", "1", "-c", CONFIGURATION,
                "-p", PLANS, "-tr", "BudgetTrainer", "-f", "all", "-device", device, *map(str, sequential), *words,
            ]  # fmt: skip
            predicted = self._predict(f"nnunet_predict_{kind}", command, out)
            rows.append(self._row(f"nnU-Net {NNUNET}{' AdamW' * self.adamw}", kind, precision, trained, predicted, out))
        return rows

    def wsseg(self) -> list[dict[str, Any]]:
        """Train, predict and score wsseg; return its rows."""
        run, held_out = self.out / "wsseg" / "run", self.out / "wsseg" / "images"
        record = self.out / "wsseg" / "record.jsonl"
        total = self.recipe.training.iterations

        def train() -> dict[str, Any]:
            record.parent.mkdir(parents=True, exist_ok=True)
            command: list[str | Path] = [sys.executable, HERE / "timed_train.py", record, run, self.path]
            command += self.overrides
            self.steps.run("wsseg_train", Command(command, total, lambda: done_so_far(record)))
            size = topology_of(self.recipe, self.prepared).parameters
            return summed(record, total, size)

        trained = self.steps.once("wsseg_train", train)
        precision = json.loads((run / "weights.json").read_text(encoding="utf-8"))["precision"]
        link_held_out(self.prepared, held_out)
        rows = []
        for kind, words in (("plain", ["--no-mirror"]), ("mirrored", ["--mirror"])):
            out = self.out / "wsseg" / f"predictions_{kind}"
            command = [*_wsseg("predict"), run, held_out, out, *words]
            predicted = self._predict(f"wsseg_predict_{kind}", command, out)
            rows.append(self._row("wsseg", kind, precision, trained, predicted, out))
        return rows

    def _install(self) -> None:
        python = self.env / "bin" / "python"
        if any(self.env.glob(f"lib/python*/site-packages/nnunetv2-{NNUNET}.dist-info")):
            return
        if not python.is_file():
            self.steps.run("environment_make", Command([sys.executable, "-m", "venv", self.env]))
        constraints = HERE.parents[1] / "constraints.txt"
        pip: list[str | Path] = [python, "-m", "pip", "install", "-c", constraints, f"nnunetv2=={NNUNET}"]
        self.steps.run("environment_install", Command(pip))

    def _launch(self, command: str) -> list[str | Path]:
        return [self.env / "bin" / "python", HERE / "nnunet_launcher.py", command]

    def _nnunet_run(self, name: str, command: Command) -> float:
        home = (self.out / "nnunet").resolve()
        environment = {
            "nnUNet_raw": str(home / "raw"),
            "nnUNet_preprocessed": str(home / "preprocessed"),
            "nnUNet_results": str(home / "results"),
            "nnUNet_extTrainer": str(HERE / "nnunet_trainer"),
            "nnUNet_n_proc_DA": str(self.processes),
            "nnUNet_def_n_proc": str(self.processes),
            "PYTHONPATH": "",
            **dict(command.environment or {}),
        }
        if self.device == "cpu":
            environment["nnUNet_compile"] = "f"
        return self.steps.run(name, Command(command.words, command.total, command.done, environment))

    def _plan(self, preprocessed: Path) -> dict[str, Any]:
        np = ["-np", str(self.processes)]
        extract = [*self._launch("extract"), "-d", "1", *np, "--verify_dataset_integrity", "--clean"]
        self._nnunet_run("fingerprint", Command(extract))
        self._nnunet_run("plan", Command([*self._launch("plan"), "-d", "1", "-pl", "ResEncUNetPlanner"]))
        planned = json.loads((preprocessed / "nnUNetResEncUNetPlans.json").read_text(encoding="utf-8"))
        edited = edit_plan(planned, topology_of(self.recipe, self.prepared))
        (preprocessed / f"{PLANS}.json").write_text(json.dumps(edited, indent=1), encoding="utf-8")
        configuration: dict[str, Any] = edited["configurations"][CONFIGURATION]
        return configuration

    def _preprocess(self, preprocessed: Path, cases: int) -> dict[str, Any]:
        folder = preprocessed / f"{PLANS}_{CONFIGURATION}"
        words = ["-d", "1", "-plans_name", PLANS, "-c", CONFIGURATION, "-np", str(self.processes)]
        command = Command([*self._launch("preprocess"), *words], cases, lambda: len(list(folder.glob("*.pkl"))))
        return {"seconds": self._nnunet_run("preprocess", command)}

    def _train(self) -> dict[str, Any]:
        total, record = self.recipe.training.iterations, (self.out / "nnunet" / "record.jsonl").resolve()
        epochs, iterations = budget_of(total)
        ours = self.recipe.training
        adamw = {"lr": ours.lr, "weight_decay": ours.weight_decay} if self.adamw else None
        budget = {"epochs": epochs, "iterations": iterations, "bf16": self.bf16, "adamw": adamw, "record": f"{record}"}
        words = ["1", CONFIGURATION, "all", "-p", PLANS, "-tr", "BudgetTrainer", "-device", self.device]
        # Without a checkpoint `--c` starts a new training.
        command = [*self._launch("train"), *words, "--c"]
        step = Command(command, total, lambda: done_so_far(record), {"BUDGET": json.dumps(budget)})
        self._nnunet_run("nnunet_train", step)
        return summed(record, total, int(read_record(record)[-1]["parameters"]))

    def _predict(self, name: str, command: Sequence[str | Path], out: Path) -> dict[str, Any]:
        def predict() -> dict[str, Any]:
            shutil.rmtree(out, ignore_errors=True)
            cases = len(self.prepared.split.held_out)
            step = Command(command, cases, lambda: len(list(out.glob("[!.]*.nii*"))))
            return {"seconds": self._nnunet_run(name, step) if "nnunet" in name else self.steps.run(name, step)}

        return self.steps.once(name, predict)

    def _row(
        self, tool: str, kind: str, precision: str, trained: dict[str, Any], predicted: dict[str, Any], out: Path
    ) -> dict[str, Any]:
        scores, references = out.with_suffix(".csv"), self.prepared.dataset.root / "labelsTr"
        name = f"evaluate_{out.parent.name}_{kind}"
        command = [*_wsseg("evaluate"), out, references, "--out", scores]
        self.steps.once(name, lambda: {"seconds": self.steps.run(name, Command(command))})
        means = scoring.means(scoring.read_csv(scores))
        done = int(trained["iterations"])
        classes = [scoring.plain(n) for n in self.prepared.dataset.classes[1:]]
        return {
            "tool": tool,
            "prediction": kind,
            "annotation": self.recipe.data.annotation,
            "device": self.device,
            "format": precision,
            "parameters (M)": f"{trained['parameters'] / 1e6:.2f}",
            "iterations": done,
            "samples seen": done * self.recipe.training.batch_size,
            "training (s)": f"{trained['seconds']:.0f}",
            "s/iteration": f"{trained['seconds'] / done:.3f}",
            "prediction (s)": f"{predicted['seconds']:.0f}",
            **{f"dice {n}": f"{means[f'dice/{n}']:.4f}" for n in classes},
            "dice mean": f"{means['dice/mean']:.4f}",
            "hd95 mean (mm)": f"{means['hd95_mm/mean']:.2f}",
        }


def _wsseg(command: str) -> list[str | Path]:
    return [sys.executable, "-m", "wsseg", command]


def compare(arguments: argparse.Namespace, report: Terminal) -> None:
    """Do all steps that are not finished yet, and write the tables."""
    out: Path = arguments.out
    overrides: list[str] = list(arguments.overrides)
    overrides += [f"data.root={arguments.root}"] if arguments.root else []
    overrides += [f"training.iterations={arguments.iterations}"] if arguments.iterations else []
    # Both tools are timed without validation.
    overrides += ["training.validate_every=0"]
    recipe = read_recipe(arguments.recipe, overrides)
    steps = Steps(out, report)
    steps.keep_settings(
        {"recipe": recipe.resolved(), "bf16": arguments.bf16, "adamw": arguments.adamw, "nnunet": NNUNET}
    )
    prepared = prepare(recipe, report)
    recipe = autoconfigure.plan(recipe, prepared, report)
    if not prepared.split.held_out:
        raise FaultsError("data.fold: holds out no case; set data.fold to a number")
    env = (arguments.env or out.parent / "environment").absolute()
    comparison = Comparison(
        recipe, arguments.recipe, overrides, prepared, out, env,
        arguments.processes, arguments.bf16, arguments.adamw, steps,
    )  # fmt: skip
    epochs, iterations = budget_of(recipe.training.iterations)
    report.say(
        f"{len(prepared.split.training)} training cases, {len(prepared.split.held_out)} held out; "
        f"nnU-Net: {epochs} epochs of {iterations} iterations; {comparison.device}, {os.cpu_count()} cores"
    )
    rows = [] if arguments.only == "wsseg" else comparison.nnunet()
    rows += [] if arguments.only == "nnunet" else comparison.wsseg()
    if arguments.only != "wsseg":
        write_scores(out, NNUNET, recipe, prepared.split.held_out, [arguments.recipe, *overrides], arguments.adamw)
    write_table(rows, out, report)


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--root", help="the dataset folder; default: the recipe's")
    parser.add_argument("--iterations", type=int, help="iterations of both tools; default: the recipe's")
    parser.add_argument("--out", type=Path, required=True, help="folder for all files")
    parser.add_argument("--env", type=Path, help="virtual environment of nnU-Net; default: `environment` beside OUT")
    parser.add_argument("--only", choices=["nnunet", "wsseg"], help="train one tool only")
    parser.add_argument("--processes", type=int, default=1, help="nnU-Net's worker processes")
    # torch 2.13 was seen to crash in the backward pass of 1 x 3 x 3 convolutions, where slices are thick.
    parser.add_argument("--bf16", action="store_true", help="train nnU-Net in bf16 on a CPU (its default is fp32)")
    parser.add_argument("--adamw", action="store_true", help="train nnU-Net with AdamW (its default is SGD)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of the recipe, for both tools")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        compare(parser.parse_args(), Terminal())
    except FaultsError as error:
        sys.exit("\n".join(f"error: {fault}" for fault in error.faults))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues from here")


if __name__ == "__main__":
    main()
