"""Fixtures. sadi_lens is imported inside them, so that the shape checker is installed first."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny models run several times slower on two contended threads than on one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real pretrained models and data sets; skip where there is none."""
    folder = os.environ.get("SADI_LENS_ASSETS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SADI_LENS_ASSETS does not name a folder of models and data sets")
    return Path(folder)
