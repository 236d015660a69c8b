"""Fixtures. sadi_lens is imported inside them, so that the shape checker, where asked for, is installed first."""

import contextlib
import gc
import os
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What is never checked: the generators of the small world's text, which call small functions a million times, and types
# that check their own fields.
UNCHECKED = ("sadi_lens.tasks.world", "sadi_lens.tasks.embedded", "sadi_lens.types.data")


def check_shapes() -> None:
    """Let beartype check the shapes and types of every call; more than doubles the time (``make shapes``)."""
    from jaxtyping import install_import_hook

    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "sadi_lens").rglob("*.py"))
        if path.stem != "__init__"  # the hook of a package would cover what is left out
    ]
    checked = [name for name in modules if not name.startswith(UNCHECKED)]
    install_import_hook(checked, "beartype.beartype")


if os.environ.get("SADI_LENS_SHAPES"):
    check_shapes()


def pytest_collection_finish() -> None:
    """What is imported stays: statsmodels and plotly collect garbage often, half a second each time otherwise."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def llama():
    """A bridged random Llama (GQA), with its tokenizer; read-only."""
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    return sl.load_model(hf, tokenizer=tokenizer)


@pytest.fixture(scope="session")
def pairs():
    """Contrastive pairs of unequal length over the test vocabulary."""
    import sadi_lens as sl

    return [
        sl.ContrastivePair("the ball is", " red", " blue"),
        sl.ContrastivePair("Tom says the big red hat is in the", " box", " ball"),
        sl.ContrastivePair("Ann was", " good", " very bad."),
        sl.ContrastivePair("the box : is the small hat red ?", " A", " B"),
    ]


@pytest.fixture(scope="session")
def samples():
    """Choice samples: unequal prompts, one- and several-token choices, two and three of them."""
    import sadi_lens as sl

    return [
        sl.Sample("the ball is", (" red", " blue"), 0, split="dev"),
        sl.Sample("Tom says the hat is in the", (" box", " big red box", " ball"), 1, split="dev"),
        sl.Sample("the", (" hat", " red hat"), 1, split="dev"),
        sl.Sample("is the ball big ? A : B :", (" A", " B"), 1, split="dev"),
    ]


@pytest.fixture(scope="session")
def differences(llama, pairs):
    """Differences of every component on the random Llama."""
    import sadi_lens as sl

    return sl.activation_differences(llama, pairs, progress=False, task="words")


@pytest.fixture(params=["bfloat16 by default", "float64 by default", "autocast", "device"])
def settings_of_torch(request):
    """What a caller may have set for code of their own, as a context."""
    import torch

    @contextlib.contextmanager
    def with_default(dtype):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    return {
        "bfloat16 by default": partial(with_default, torch.bfloat16),
        "float64 by default": partial(with_default, torch.float64),
        "autocast": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
        "device": partial(torch.device, "meta"),  # what is made there by default has no values
    }[request.param]


@pytest.fixture
def info():
    """A small model's shape."""
    import sadi_lens as sl

    return sl.types.ModelInfo("toy", "Toy", 3, 4, 8, 32, 48, "0123456789abcdef")


@pytest.fixture
def head_differences(info):
    """Seeded differences of 3 x 4 heads."""
    import numpy as np

    import sadi_lens as sl

    rng = np.random.default_rng(0)
    return sl.types.ActivationDifferences(
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
