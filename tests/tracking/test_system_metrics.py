"""The load of the machine, under MLflow's names, with and without GPUs."""

import sys
from types import SimpleNamespace

import pytest

from wsseg.tracking.system_metrics import SystemMonitor

NAMES = {
    "cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage",
    "disk_usage_percentage", "disk_usage_megabytes", "disk_available_megabytes",
    "network_receive_megabytes", "network_transmit_megabytes",
}  # fmt: skip


def test_values_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    values = SystemMonitor().read()
    assert values.keys() == NAMES
    assert all(value >= 0 for value in values.values()) and values["system_memory_usage_megabytes"] > 0


def test_values_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda n: n,
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=20e9, total=80e9),
        nvmlDeviceGetPowerUsage=lambda gpu: 350_000,
        nvmlDeviceGetEnforcedPowerLimit=lambda gpu: 700_000,
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=97),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    values = SystemMonitor().read()
    assert {name: value for name, value in values.items() if name not in NAMES} == {
        "gpu_0_memory_usage_percentage": 25.0,
        "gpu_0_memory_usage_megabytes": 20_000.0,
        "gpu_0_utilization_percentage": 97,
        "gpu_0_power_usage_watts": 350.0,
        "gpu_0_power_usage_percentage": 50.0,
    }


def test_mlflow_uses_the_same_names() -> None:
    """MLflow's pages group these names; its monitors are private, so a renamed one is noticed here."""
    cpu = pytest.importorskip("mlflow.system_metrics.metrics.cpu_monitor").CPUMonitor()
    cpu.collect_metrics()
    assert cpu.metrics.keys() <= NAMES
