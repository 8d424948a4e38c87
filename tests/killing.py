"""Kills a command in the middle of its work."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence


def kill_when(reached: Callable[[], bool], command: Sequence[str], timeout_s: float = 180) -> None:
    """Starts a command and ends it with SIGKILL once it has got so far."""
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and victim.poll() is None and not reached():
        time.sleep(0.02)
    os.kill(victim.pid, signal.SIGKILL)
    output, _ = victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL, output.decode()
