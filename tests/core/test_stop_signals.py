"""Signals that stop a process: obeyed at once, or noted."""

import os
import signal
import subprocess
import sys
import time

import pytest

from wsseg.core.stop_signals import BURST_S, STOP_SIGNALS, StoppedError, noting_stop_signals, obeying_stop_signals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_raises_at_once_or_is_noted(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(n) for n in STOP_SIGNALS]
    with obeying_stop_signals():
        with noting_stop_signals(speak=True) as request:
            os.kill(os.getpid(), number)
            assert request.number == number
            os.kill(os.getpid(), number)  # torchrun passes on what the terminal has sent already
            time.sleep(BURST_S + 0.05)
            with pytest.raises((StoppedError, KeyboardInterrupt)):
                os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises((StoppedError, KeyboardInterrupt)) as ended:
            os.kill(os.getpid(), number)
        assert number == signal.SIGINT or ended.value.code == 128 + number
    assert [signal.getsignal(n) for n in STOP_SIGNALS] == before
    assert capfd.readouterr().err.count(f"{number.name}: stopping after this iteration") == 1


def test_ignored_signals_stay_ignored() -> None:
    """As of a command that nohup has started."""
    code = (
        "import os, signal; from wsseg.core.stop_signals import *\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with obeying_stop_signals(), noting_stop_signals(speak=True) as request:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(request.number)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
