"""The addresses of MLflow's pages, as its own browser code reads them (tried in Chromium with MLflow 3.17)."""

from wsseg.tracking.pages import comparison_page, curves_page, run_page, viewing_instructions
from wsseg.tracking.sending import RunIds

RUNS = [RunIds("1", "abc"), RunIds("1", "def"), RunIds("2", "123")]
MODE = "workflowType=machine_learning"


def test_pages_of_a_server() -> None:
    root = "https://joe:secret@host/mlflow/"
    assert run_page(root, RUNS[0]) == f"https://host/mlflow/#/experiments/1/runs/abc/model-metrics?{MODE}"
    assert comparison_page(root, RUNS) == (
        "https://host/mlflow/#/compare-runs?runs=%5B%22abc%22%2C%22def%22%2C%22123%22%5D"
        f"&experiments=%5B%221%22%2C%222%22%5D&{MODE}"
    )
    assert curves_page(root, RUNS[0]) == (
        "https://host/mlflow/#/experiments/1/runs?searchFilter=tags.mlflow.parentRunId%20%3D%20%27abc%27"
        f"&orderByKey=metrics.%60final%2Fdice%2Fmean%60&orderByAsc=false&compareRunsMode=CHART&{MODE}"
    )
    assert viewing_instructions(root, RUNS[0], ()) == run_page(root, RUNS[0])


def test_a_local_store_needs_a_command_first() -> None:
    lines = viewing_instructions("sqlite:////a b/mlflow.db", RUNS[0], RUNS[1:]).splitlines()
    assert lines[0].endswith("mlflow ui --workers 1 --backend-store-uri 'sqlite:////a b/mlflow.db'")
    assert [line.split("http://127.0.0.1:5000/#/")[1][:12] for line in lines[1:]] == [
        "experiments/",
        "compare-runs",
        "experiments/",
    ]
