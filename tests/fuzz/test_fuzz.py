"""A few hundred of the inputs of ``make fuzz``; ``SADI_LENS_FUZZ`` sets how many."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_bad_argument_is_refused_by_name():
    script = Path(__file__).with_name("arguments.py")
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    assert "refused by name" in ended.stdout
