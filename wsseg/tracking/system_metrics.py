"""Load of the machine: processor, memory, disk, network and NVIDIA GPUs, under the names that MLflow's pages use."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from typing import Any

import psutil

MB = 1e6


class SystemMonitor:
    """Reads the load of the machine. GPUs need the package nvidia-ml-py; without it they are left out."""

    def __init__(self) -> None:
        psutil.cpu_percent()  # the load is counted from one call to the next
        self._network = psutil.net_io_counters()
        self._nvml: Any = None
        self._gpus: list[Any] = []
        with suppress(Exception):  # no nvidia-ml-py, no driver, or no GPU
            self._nvml = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._gpus = [self._nvml.nvmlDeviceGetHandleByIndex(n) for n in range(self._nvml.nvmlDeviceGetCount())]

    def read(self) -> dict[str, float]:
        """Return the current values by name; network traffic is counted from the start of the monitor."""
        memory, disk, network = psutil.virtual_memory(), psutil.disk_usage(os.sep), psutil.net_io_counters()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MB,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MB,
            "disk_available_megabytes": disk.free / MB,
            "network_receive_megabytes": (network.bytes_recv - self._network.bytes_recv) / MB,
            "network_transmit_megabytes": (network.bytes_sent - self._network.bytes_sent) / MB,
        }
        for n, gpu in enumerate(self._gpus):
            for read in (self._gpu_memory, self._gpu_utilization, self._gpu_power):
                with suppress(Exception):  # some GPUs do not report all values
                    values |= {f"gpu_{n}_{name}": value for name, value in read(gpu).items()}
        return {name: round(value, 1) for name, value in values.items()}

    def _gpu_memory(self, gpu: Any) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(gpu)
        share = memory.used / memory.total * 100
        return {"memory_usage_percentage": share, "memory_usage_megabytes": memory.used / MB}

    def _gpu_utilization(self, gpu: Any) -> dict[str, float]:
        return {"utilization_percentage": self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu}

    def _gpu_power(self, gpu: Any) -> dict[str, float]:
        power_mw, limit_mw = self._nvml.nvmlDeviceGetPowerUsage(gpu), self._nvml.nvmlDeviceGetEnforcedPowerLimit(gpu)
        return {"power_usage_watts": power_mw / 1000, "power_usage_percentage": power_mw / limit_mw * 100}
