"""Removes one guard at a time from a copy of the package; a test has to fail for each.

    python tests/benchmarks/mutate_guards.py            # all guards
    python tests/benchmarks/mutate_guards.py NAME ...   # guards whose file or text contains a word

Each guard is a text in a file, its replacement, and the tests that have to notice. Exit code 1 if a guard can go
unnoticed, or if its tests could not run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wsseg.core.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Guard:
    """One guard: without it, `test` has to fail.

    Attributes:
        file: Its file below wsseg/.
        text: What stands there.
        without: What stands there without the guard.
        test: Words for pytest: a file, perhaps with one of its tests (FILE::TEST, or FILE -k WORD).
    """

    file: str
    text: str
    without: str
    test: str


NAMES, JSON, YAML = "tests/core/test_names.py", "tests/core/test_plain_json.py", "tests/recipe/test_reading.py"
SECURITY = "tests/faults/test_security.py"
LINKS = "if links := [entry.name for entry in links_out(self.path)]:"
SECURITY_GUARDS = (
    Guard("core/names.py", 'r"[^./\\\\\\s][^/\\\\]*"', 'r".*"', NAMES),
    Guard("core/names.py", "        and not any(_is_invisible(character) for character in name)\n", "", NAMES),
    Guard("core/names.py", "if not lies_inside(path.parent, folder) or", "if", NAMES),
    Guard("core/names.py", ' or ".." in path.parts[len(folder.parts) :]', "", NAMES),
    Guard("core/names.py", "repr(c)[1:-1] if _is_invisible(c) else c", "c", NAMES),
    Guard("core/names.py", "if len(text) <= length else", "if True else", NAMES),
    Guard("core/csv_cells.py", "if _FORMULA.match(name) or", "if", NAMES),
    Guard("core/csv_cells.py", "cell[1:] if _PROTECTED.match(cell) else cell", "cell", NAMES),
    Guard("core/plain_json.py", "except RecursionError:", "except MemoryError:", JSON),
    Guard("core/plain_json.py", "if len(content) < len(pairs):", "if False:", JSON),
    Guard("core/terminal.py", "Text(visible(cell))", "Text(cell)", "tests/core/test_terminal.py"),
    Guard("core/terminal.py", "visible(line, len(line))", "line", "tests/core/test_terminal.py"),
    Guard("recipe/yaml_file.py", 'getattr(event, "anchor", None) is not None', "False", YAML),
    Guard("recipe/yaml_file.py", "if self.depth >= MAXIMUM_DEPTH:", "if False:", YAML),
    Guard("recipe/yaml_file.py", "if str(node.tag) not in PLAIN_TAGS:", "if False:", YAML),
    Guard("recipe/yaml_file.py", "if key.value in seen:", "if False:", YAML),
    Guard("recipe/yaml_file.py", "if str(key.tag) == MERGE_TAG:", "if False:", YAML),
    Guard("recipe/plugins.py", "model.model_validate_json(text, strict=True)", "model.model_validate_json(text)", YAML),
    Guard("recipe/schema.py", "Truth = Annotated[bool, Strict()]", "Truth = bool", YAML),
    Guard("recipe/schema.py", 'r"^\\.*[A-Za-z0-9_-][A-Za-z0-9._-]*$"', 'r"^[A-Za-z0-9._-]+$"', YAML),
    Guard("core/errors.py", 'text if len(text) <= length else f"{text[: length - 4]} ..."', "text", YAML),
    Guard("dataset/folder.py", "if not may_name_a_file(name)]", "if False]", "tests/dataset/test_folder.py -k leave"),
    Guard("assembly/notes.py", "if not may_name_a_file(name):", "if False:", "tests/assembly/test_notes.py"),
    Guard("commands/predict.py", 'inside(out, "probabilities", name, file)', "out.joinpath(name, file)", SECURITY),
    Guard("commands/_run_folder.py", LINKS, "if links := []:", SECURITY),
    Guard("tracking/sending.py", "if not lies_inside(path, self._record.parent) or", "if", SECURITY),
    Guard("tracking/sending.py", '".." in Path(folder).parts or', "", SECURITY),
    Guard("core/sealed.py", "and not _is_whole(text)", "and False", "tests/core/test_sealed.py"),
    Guard("training/checkpoint.py", 'if hashlib.sha256(content).hexdigest() != notes.get("sha256"):', "if False:",
          "tests/training/test_checkpoint.py"),
    Guard("evaluation/comparison/document.py", "html.escape(visible(text, len(text)), quote=True)", "text",
          "tests/evaluation/comparison/test_report.py"),
)  # fmt: skip


HEADERS, FORMS, GRID = (f"tests/volumes/test_{name}.py" for name in ("corrupt_headers", "forms", "grid"))
ONE_PLACE = "tests/annotation/exchange/test_geometry.py"
VOLUMES = (
    Guard("volumes/header.py", "if surplus:", "if False:", f"{HEADERS} -k lie"),
    Guard("volumes/header.py", "if needed > free:", "if False:", f"{HEADERS} -k no_memory"),
    Guard("volumes/header.py", "if max(ratio.max(), 1 / ratio.min()) > PIXDIM_RATIO:", "if False:",
          f"{HEADERS} -k lie"),
    Guard("volumes/header.py", 'METRE_SPACING_MM if unit == "metre" else SENSIBLE_SPACING_MM[1]',
          "SENSIBLE_SPACING_MM[1]", f"{FORMS} -k cannot_be_meant"),
    Guard("volumes/forms.py", "if not self.qform_code or self.sform_code == 1:", "if not self.qform_code:",
          f"{FORMS} -k pair_of_codes"),
    Guard("volumes/forms.py", "return (qform,) if self.qform_code else ()", "return (qform,)",
          f"{FORMS} -k pair_of_codes"),
    Guard("volumes/nifti.py", 'raise EOFError(f"{filled} of {len(content)} bytes of voxels")', "break",
          "tests/data/test_store.py -k uncompressed_truncated"),
    Guard("volumes/nifti.py", "return kind(voxels, None, header)", "return kind(voxels, grid.disk_affine, header)",
          f"{FORMS} -k lengths"),
    Guard("volumes/grid.py", "self.spacing_mm if is_orthogonal(self.affine) else self.affine[:3, :3]",
          "self.spacing_mm", f"{GRID} -k sheared"),
    Guard("volumes/grid.py", "bool(np.abs(moves).max() <= CORNER_TOLERANCE_VOXELS)", "True",
          f"{ONE_PLACE} -k same_shape_elsewhere"),
    Guard("volumes/grid.py", "if not any(seen._stored_like(self) for seen in (image, *image.elsewhere)):", "if True:",
          f"{ONE_PLACE} -k another_tool"),
)  # fmt: skip

UNUSED, DATASET_JSON, ORIENTATION = (f"tests/dataset/test_{n}.py" for n in ("unused", "dataset_json", "orientation"))
DATASETS = (
    Guard("dataset/unused.py", 'if "." not in path.name[1:] and _is_dicom(path):', "if False:",
          f"{UNUSED} -k dicom_file"),
    Guard("dataset/folder.py", 'copied = file.kind == "ending" and _stem(file.path) in stems', "copied = False",
          f"{UNUSED} -k copy_in_another_format"),
    Guard("dataset/dataset_json.py", "if right := _turned(labels):", 'if right := "":',
          f"{DATASET_JSON} -k labels_of_nnunet"),
    Guard("dataset/orientation.py", "if (clear & (alike | ~near)).mean() >= CLEAR_SHARE:",
          "if clear.mean() >= CLEAR_SHARE:", f"{ORIENTATION} -k third_of_a_turn"),
    Guard("core/axes.py", "- (n == m)) < _ORTHOGONAL:", "- (n == m)) < 1e9:", f"{ORIENTATION} -k damaged_rule"),
)  # fmt: skip

PLANTED, NEW_CASES = "tests/checking/test_planted_faults.py", "tests/checking/test_training_range.py"
METRICS, PAIRS = "tests/evaluation/test_metrics.py", "tests/evaluation/test_pairs.py"
CHECKS_AND_SCORES = (
    Guard("checking/rules/forms.py", "(forms.itk_affines() and apart <= APART_MM)", "apart <= APART_MM",
          f"{PLANTED} -k gantry"),
    Guard("checking/rules/forms.py",
          "if images and path not in images and not _same_position(case.grids[images[0]], grid):", "if False:",
          f"{PLANTED} -k 'strokes and form'"),
    Guard("checking/training_range.py", 'if modality.kind == "ct" and (what := _out_of_hu(image)):', "if False:",
          f"{NEW_CASES} -k unlike"),
    Guard("evaluation/metrics.py", "if many and edges.ndim == 1:", "if many:", f"{METRICS} -k sheared"),
    Guard("evaluation/scoring.py", "reference.grid.metric_mm, classes", "reference.grid.spacing_mm, classes",
          "tests/evaluation/test_scoring.py -k sheared"),
    Guard("evaluation/pairs.py", "return _on_one_grid(prediction, reference) or (prediction, reference)",
          "return prediction, reference", f"{PAIRS} -k other_form"),
    Guard("evaluation/pairs.py", " or not _holds_255(pair.reference):", ":", f"{PAIRS} -k background"),
)  # fmt: skip

NAMES_FILES, HEADER_NAMES = (f"tests/annotation/exchange/test_{name}.py" for name in ("names_files", "header_names"))
EXCHANGE = (
    Guard("annotation/exchange/names_files.py", "if any(named[path] != named[chosen[0]] for path in chosen):",
          "if False:", f"{NAMES_FILES} -k several_files"),
    Guard("annotation/exchange/header_names.py",
          '    raise DataError(\n        f"{path}: its header names labels ({MITK_GROUPS})',
          '    return ()\n    raise DataError(\n        f"{path}: its header names labels ({MITK_GROUPS})',
          f"{HEADER_NAMES} -k cannot_be_read"),
)  # fmt: skip

LOCKS, FILES, SEALED = "tests/core/test_locks.py", "tests/core/test_files.py", "tests/core/test_sealed.py"
SIGNALS, STOPPING = "tests/core/test_stop_signals.py", "tests/cli/test_stopping.py"
CORE = (
    Guard("core/locks.py", "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass", f"{LOCKS} -k claim_twice"),
    Guard("core/locks.py", "not (locked and owner.space == own.space) and", "not locked and",
          f"{LOCKS} -k another_machine"),
    Guard("core/locks.py", "return owner if valid and 0 < owner.since < 1e11 else None", "return owner",
          f"{LOCKS} -k damaged_lock_file"),
    Guard("core/files.py", "if replace and target.exists():", "if target.exists():", f"{FILES} -k replaced_only"),
    Guard("core/files.py", "return time.time() - written > ABANDONED_S", "return True", f"{FILES} -k other_machines"),
    Guard("core/sealed.py", '    write_safely(sidecar, b"".join([line, *before]))\n', "", f"{SEALED} -k kill"),
    Guard("core/places.py", "if state.st_uid != os.getuid() or state.st_mode & 0o022 or folder.is_symlink():",
          "if False:", "tests/core/test_places.py"),
    Guard("core/stop_signals.py", "if before is not None and before != signal.SIG_IGN:", "if before is not None:",
          f"{SIGNALS} -k ignored"),
    Guard("core/stop_signals.py", "if request.number and now - request.time > BURST_S:", "if request.number:",
          f"{SIGNALS}::test_a_signal_raises_at_once_or_is_noted[15]"),  # Ctrl-C would end pytest
    Guard("core/failures.py", "        if not isinstance(failure, NoMemoryError):\n            raise\n", "",
          "tests/core/test_failures.py -k of_one_case"),
    Guard("cli/stopping.py", "kind = NoSpaceError if error.errno in NO_SPACE else FaultsError", "kind = FaultsError",
          f"{STOPPING} -k remedy"),
    Guard("cli/stopping.py", "with suppress(OSError):  # the terminal", "with nullcontext():  # the terminal",
          f"{STOPPING} -k terminal"),
)  # fmt: skip

CACHE, HASHES, STORE = (f"tests/data/test_{name}.py" for name in ("cache_entry", "content_hashes", "store"))
LINES = "tests/tracking/test_lines.py"
DATA_AND_RECORDS = (
    Guard("data/loading.py", "if expected.fits(grid):", "if True:", f"{ONE_PLACE} -k same_shape_elsewhere"),
    Guard("data/cache_entry.py", "        _compare(folder, meta)\n", "", f"{CACHE} -k one_process"),
    Guard("data/content_hashes.py", "if settled and state ==", "if state ==", f"{HASHES} -k just_written"),
    Guard("data/store.py", "    sweep(folder)\n", "", f"{CACHE} -k killed_start"),
    Guard("data/store.py", "with collecting(faults), memory_as_fault(case.name):", "with collecting(faults):",
          f"{STORE} -k exhausts"),
    Guard("tracking/lines.py", "if end != _crc(body):", "if False:", f"{LINES} -k flipped_bit"),
    Guard("tracking/record.py", "if has_damaged_end(text[start:]):", "if False:", f"{LINES} -k flipped_bit"),
)  # fmt: skip

TRAINER, INTERRUPTED = "tests/training/test_trainer.py", "tests/training/test_interruptions.py"
SIZES, RUN_FOLDER = "tests/assembly/test_sizes.py", "tests/commands/test_run_folder.py"
BESIDE, PREDICT = "tests/commands/test_training.py", "tests/commands/test_predict.py"
RUNS = (
    Guard("training/checkpoint.py", 'if type(iteration) is not int or f"iteration_{iteration:07d}" != name:',
          "if False:", "tests/training/test_checkpoint.py -k earlier_version"),
    Guard("training/iterations.py", "if processes != self.world.world:", "if False:", f"{TRAINER} -k processes"),
    Guard("training/trainer.py", "(due and not self._in_a_row)", "due", f"{INTERRUPTED} -k stays_nan"),
    Guard("training/trainer.py", "and done and not self._updating and", "and done and",
          f"{INTERRUPTED} -k within_an_update"),
    Guard("training/saving.py", "except OSError as error:", "except ZeroDivisionError as error:",
          f"{INTERRUPTED} -k full_disk"),
    Guard("assembly/step_sizes.py", "if needed <= available:", "if True:", f"{SIZES} -k batch_that"),
    Guard("assembly/case_sizes.py", "if len(faults) == len(sizes) > 1:", "if False:", f"{SIZES} -k spacing_far"),
    Guard("assembly/trained_weights.py", "if name not in names:", "if False:",
          "tests/assembly/test_trained_weights.py"),
    Guard("commands/_run_folder.py", 'with claim(self.path, "training"):', "with nullcontext():",
          f"{RUN_FOLDER} -k cannot_be_begun"),
    Guard("commands/_run_folder.py", "            if changed:\n", "            if False:\n",
          f"{RUN_FOLDER} -k data_have_changed"),
    Guard("commands/_training.py", 'if threads > available and context.parts.device.type != "cuda":', "if False:",
          f"{BESIDE} -k threads"),
    Guard("commands/_training.py", "if free is not None and free < needed:", "if False:", f"{BESIDE} -k disk"),
    Guard("commands/diff.py", 'elif line.get("event") in ("rolled_back", "iterations_changed"):', "elif False:",
          "tests/commands/test_diff.py -k repeats"),
    Guard("commands/predict.py", "if size is not None and (fault := size.fault(len(model.classes))):", "if False:",
          f"{PREDICT} -k beyond_the_memory"),
    Guard("commands/predict.py", 'with claim(out, "predicting"), report', "with report",
          f"{PREDICT} -k another_process"),
    Guard("distributed/runtime.py", "share = cores if bound else max(1, cores // self.local_world)", "share = cores",
          "tests/distributed/test_runtime.py -k share"),
)  # fmt: skip

GUARDS = (*SECURITY_GUARDS, *VOLUMES, *DATASETS, *CHECKS_AND_SCORES, *EXCHANGE, *CORE, *DATA_AND_RECORDS, *RUNS)


def fault_of(guard: Guard, copy: Path) -> str:
    """Return "unnoticed" if all tests pass without a guard, "" if one fails, else why none could run."""
    path = copy / "wsseg" / guard.file
    sound = path.read_text(encoding="utf-8")
    if guard.text not in sound:
        raise ValueError(f"{guard.file}: has no {guard.text!r}; correct the list of guards")
    path.write_text(sound.replace(guard.text, guard.without, 1), encoding="utf-8")
    try:
        words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *shlex.split(guard.test)]
        env = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(words, cwd=copy, env=env, capture_output=True, check=False)
        if ended.returncode == 1:  # a test failed
            return ""
        return "unnoticed" if ended.returncode == 0 else f"no test could run (exit code {ended.returncode})"
    finally:
        path.write_text(sound, encoding="utf-8")


def main() -> int:
    """Run the command line."""
    words, terminal = sys.argv[1:], Terminal()
    chosen = [guard for guard in GUARDS if not words or any(word in f"{guard.file} {guard.text}" for word in words)]
    left = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "runs", "*.db", "__pycache__", ".*_cache"))
        with terminal.progress("guards", len(chosen)) as bar:
            for guard in chosen:
                if fault := fault_of(guard, copy):
                    left.append(guard)
                    terminal.say(f"{fault}: {guard.file}: {guard.text}")
                bar.advance(guard.file)
    terminal.say(f"{len(chosen) - len(left)} of {len(chosen)} guards: a test fails without it")
    return int(bool(left))


if __name__ == "__main__":
    raise SystemExit(main())
