"""Hand-made results: no model."""

import pytest


@pytest.fixture
def info():
    """A small model's shape."""
    import sadi_lens as sl

    return sl.ModelInfo("toy", "Toy", 3, 4, 8, 32, 48, "0123456789abcdef")


@pytest.fixture
def head_differences(info):
    """Seeded differences of 3 x 4 heads."""
    import numpy as np

    import sadi_lens as sl

    rng = np.random.default_rng(0)
    return sl.ActivationDifferences(
        component="head",
        model=info,
        n=50,
        mean=rng.normal(size=(3, 4)).astype(np.float32),
        std=rng.uniform(0.5, 2, size=(3, 4)).astype(np.float32),
        vector=rng.normal(size=(3, 4, 8)).astype(np.float32),
        prompt_mean=rng.normal(size=(3, 4, 8)).astype(np.float32),
        prompt_rms=rng.uniform(1, 2, size=(3, 4)).astype(np.float32),
        task="toy task",
    )
