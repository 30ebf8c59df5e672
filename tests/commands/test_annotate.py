"""`wsseg annotate simulate`, `show` and `measure` on small datasets."""

from pathlib import Path

import nibabel as nib
import numpy as np


def test_an_annotation_is_simulated_shown_and_measured(run_wsseg, make_dataset, tmp_path: Path) -> None:
    root, protocols = make_dataset(cases=3), Path(__file__).parents[2] / "annotations"
    said = run_wsseg("annotate", "simulate", root, protocols / "scribblebench.yaml", "--workers", 1).stdout
    assert "scribblebench: simulated, 3 cases" in said and "a person would need about" in said
    assert "data.annotation=annotations/scribblebench" in said
    picture = tmp_path / "picture.png"
    shown = run_wsseg("annotate", "show", root, "annotations/scribblebench", "--channel", "mr", "--out", picture)
    assert picture.stat().st_size > 5000
    assert shown.stdout.startswith("scribblebench: case_000, ") and "minutes" in shown.stdout
    assert run_wsseg("annotate", "show", root, "scribblesTr", "--out", picture).stdout.startswith(
        "scribblesTr: case_000"
    )
    measured = run_wsseg("annotate", "measure", root, "scribblesTr", "annotations/scribblebench").stdout
    table = [line for line in measured.splitlines() if "│" in line]  # a slow machine also says how far it is
    for name in ("scribblesTr", "scribblebench"):
        assert sum(name in row for row in table) == 3, "a row a class"
    assert (
        "did you mean 'case_001'"
        in run_wsseg("annotate", "show", root, "scribblesTr", "--case", "case1", code=2).stderr
    )
    jpg = run_wsseg("annotate", "show", root, "scribblesTr", "--out", tmp_path / "a.jpg", code=2)
    assert "a.jpg: the picture is a PNG: name it a.png" in jpg.stderr
    assert "has no image 'pet'" in run_wsseg("annotate", "show", root, "scribblesTr", "--channel", "pet", code=2).stderr
    missing = run_wsseg("annotate", "simulate", tmp_path / "none", protocols / "points.yaml", code=2)
    assert "none: no such folder; name a dataset" in missing.stderr


def test_strokes_are_simulated_and_learned_from(run_wsseg, make_dataset, make_recipe, tmp_path: Path) -> None:
    root = make_dataset()
    protocol = Path(__file__).parents[2] / "annotations" / "strokes.yaml"
    run_wsseg("annotate", "simulate", root, protocol)
    strokes = np.asarray(nib.load(root / "annotations/strokes/case_000.nii.gz").dataobj)
    truth = np.asarray(nib.load(root / "labelsTr/case_000.nii.gz").dataobj)
    drawn = strokes != 3
    assert 0 < drawn.mean() < 0.2 and (strokes[drawn] == truth[drawn]).all()
    result = run_wsseg("check", make_recipe(root), "data.annotation=annotations/strokes")
    assert "no fault found" in result.stdout
