"""Kills a command in the middle of its work."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

# How long a command may take to get somewhere: far more than it does on a machine with nothing else to do.
PATIENCE_S = 900


def kill_when(reached: Callable[[], bool], command: Sequence[str]) -> None:
    """Starts a command and ends it with SIGKILL once it has got so far."""
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and victim.poll() is None and not reached():
        time.sleep(0.02)
    os.kill(victim.pid, signal.SIGKILL)
    output, _ = victim.communicate(timeout=PATIENCE_S)
    assert victim.returncode == -signal.SIGKILL, output.decode()
