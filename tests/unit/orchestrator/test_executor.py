"""What a driver needs to place workers."""

from __future__ import annotations

import subprocess
import sys


def test_a_driver_does_not_import_torch() -> None:
    code = "import sys, orchestrator.executor; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
