"""The layers of the package hold: what imports what, file sizes, and nothing unsafe."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wsseg"
FILES = sorted(PACKAGE.rglob("*.py"))
FEATURES = (
    "data", "phantoms", "annotation", "checking", "networks", "supervision", "training", "prediction", "evaluation",
    "tracking", "executors",
)  # fmt: skip
LAYERS = (
    ("core",), ("distributed",), ("volumes",), ("dataset",), ("recipe",), ("figures",), FEATURES,
    ("losses",), ("assembly",), ("testing",), ("commands",), ("cli",), ("__main__", "__init__"),
)  # fmt: skip
"""A package or file imports only itself and what stands in a layer before its own."""
THIRD_PARTIES = {
    "mlflow": {"tracker.py", "mlflow_store.py"},
    "nibabel": {"nifti.py", "grid.py"},
    "typer": {"cli"},
    "rich": {"terminal.py"},
    "yaml": set(),
    "ruamel": {"yaml_file.py"},
    "nrrd": {"nrrd_files.py"},
    "SimpleITK": set(),
    "ray": {"on_ray.py"},
    "submitit": {"slurm.py"},
}
"""The files or folders that may import a third-party package; all others go through them."""
FORBIDDEN = {"eval", "exec", "compile", "print", "breakpoint", "__import__"}
UNSAFE_CALLS = {
    "torch.load", "os.system", "os.popen", "yaml.load", "fileConfig", "dictConfig", "extractall", "extract", "ZipFile",
    "unpack_archive", "torch.jit.load", "torch.hub.load", "urlretrieve",
}  # fmt: skip
"""Calls that execute or unpack what a file holds. A name without a dot is refused whatever it belongs to."""
UNSAFE_MODULES = {
    "pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "logging.config", "tarfile", "runpy",
    "code",
}  # fmt: skip
ALONE = {
    "json.loads": {"plain_json.py"},
    "json.load": set(),
    "import_module": {"plugins.py", "report.py", "system_metrics.py"},
    "exec_module": {"outside.py"},
}
"""Calls that only these files make, so that what is checked there is checked everywhere."""


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages_of(path: Path) -> set[str]:
    """Names below wsseg that a file imports: packages, or files at the top."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("wsseg.") and name != "wsseg.__version__"}


def level_of(name: str) -> int:
    return next(level for level, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_lower_layers(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    above = {name for name in packages_of(path) - {parts[0]} if level_of(name) >= level_of(parts[0])}
    assert not above, f"{path} imports {above}, which stand in the same layer or above"


def test_the_package_is_small_at_the_top() -> None:
    assert len([p for p in PACKAGE.iterdir() if not p.name.startswith("__pycache__")]) <= 25


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_third_parties_are_imported_in_one_place(path: Path) -> None:
    for name in imports(path):
        allowed = THIRD_PARTIES.get(name.split(".")[0])
        assert allowed is None or allowed & {path.name, path.parent.name}, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_is_short_and_calls_nothing_unsafe(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            tail = name.rsplit(".", 1)[-1]
            assert name not in FORBIDDEN, f"{path}:{node.lineno} calls {name}"
            assert not (tail == "load_model" and "." in name), f"{path}:{node.lineno} {name}: MLflow stays a client"
            assert not {name, tail} & UNSAFE_CALLS, f"{path}:{node.lineno} calls {name}"
            assert not {"shell", "allow_pickle"} & {k.arg for k in node.keywords}, f"{path}:{node.lineno} {name}"
            owners = ALONE.get(name, ALONE.get(tail, {path.name}))
            assert path.name in owners, f"{path}:{node.lineno} calls {name}; only {owners or 'no file'} may"
    assert "torchvision" not in text
    unsafe = {name for name in imports(path) if any(f"{name}.".startswith(f"{m}.") for m in UNSAFE_MODULES)}
    assert not unsafe, f"{path} imports {unsafe}"


def test_distributed_alone_talks_to_other_processes() -> None:
    words = ("torch.distributed", "torch.nn.parallel")
    assert {str(f.relative_to(PACKAGE)) for f in FILES if any(name.startswith(words) for name in imports(f))} == {
        "distributed/reduce.py",
        "distributed/runtime.py",
    }


def test_names_say_something() -> None:
    assert not [f for f in FILES if f.stem in {"utils", "util", "helpers", "common", "misc", "base"}]


def test_the_folder_named_mlflow_does_not_hide_the_library() -> None:
    import mlflow

    assert "site-packages" in str(mlflow.__file__)
    assert not (PACKAGE.parent / "mlflow" / "__init__.py").exists()
    assert not (PACKAGE.parent / "mlflow.py").exists()
