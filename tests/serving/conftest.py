"""Fixtures for vLLM, which has an environment of its own (make test-vllm)."""

import itertools
import os

import pytest

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",  # its start costs a minute
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
ENGINE = {"max_model_len": 256, "block_size": 32, "gpu_memory_utilization": 0.3}
POSITIONS = ("last_prompt", "every_step", "all")
N_NEW = 12
COMPONENTS = ("head", "neuron", "hidden", "mlp_out")


@pytest.fixture(scope="session")
def vllm_settings():
    """vLLM as the tests run it; skip where it is not installed."""
    pytest.importorskip("vllm", reason="vLLM is not installed here: make test-vllm")
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    yield SETTINGS
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A random Llama of 8 heads of 32 (vLLM's CPU attention takes no narrower ones) on disk."""
    from factories import random_llama

    folder = tmp_path_factory.mktemp("model") / "random-llama"
    hf, tokenizer = random_llama(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=256,
        initializer_range=0.15,
    )
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(checkpoint):
    """The same as a bridge."""
    import torch

    import sadi_lens as sl

    return sl.load_model(checkpoint, dtype=torch.float32)


@pytest.fixture(scope="session")
def interventions(model):
    """One of each component, adaptive and fixed, on several layers."""
    import numpy as np

    import sadi_lens as sl

    rng = np.random.default_rng(0)
    layers = (0, 2, 3)
    units = {"head": 8, "neuron": 512, "hidden": 256, "mlp_out": 256}
    masks = {
        one: sl.Mask.from_units(
            one,
            [
                (layer, int(unit))
                for layer in layers
                for unit in rng.choice(count, 3, replace=False)
            ],
            model,
        )
        for one, count in units.items()
    }
    found = {one: sl.MaskedScaling(mask, 4.0) for one, mask in masks.items()}
    vector = rng.normal(size=(4, 256, 1)).astype(np.float32)
    found["hidden"] = sl.MaskedAddition(masks["hidden"], vector, 12.0)
    found["hidden_scaled"] = sl.MaskedScaling(masks["hidden"], 1.5)
    return found


@pytest.fixture(scope="session")
def tables(interventions, model, tmp_path_factory):
    """Their folder."""
    import sadi_lens as sl

    return sl.serving.export_tables(
        interventions, tmp_path_factory.mktemp("tables") / "tables", model=model
    )


@pytest.fixture(scope="session")
def prompts():
    """Twenty of 3 to 70 tokens; several begin alike."""
    import numpy as np
    from factories import WORDS

    rng = np.random.default_rng(1)
    words = [word for word in WORDS if word.isalpha()]
    shared = " ".join(rng.choice(words, 40))
    alone = [" ".join(rng.choice(words, n)) for n in rng.integers(2, 70, 12)]
    return [*alone, *(f"{shared} {' '.join(rng.choice(words, n))}" for n in range(1, 9))]


@pytest.fixture(scope="session")
def expected(model, interventions, prompts):
    """(name, position) -> texts of ``sl.generate``; None is unsteered."""
    import sadi_lens as sl

    asked = {None: None, **interventions}
    found = {}
    for position in POSITIONS:
        rows = list(itertools.product(asked, prompts))
        texts = sl.generate(
            model,
            [prompt for _, prompt in rows],
            [asked[name] for name, _ in rows],
            position=position,
            max_new_tokens=N_NEW,
            skip_special_tokens=False,
        )
        for (name, _), text in zip(rows, texts, strict=True):
            found.setdefault((name, position), []).append(text)
    return found


def requests(expected, prompts):
    """Every prompt in every way, so mixed that neighbours differ."""
    ways = list(expected)
    return [
        (row, ways[(row * 7 + way) % len(ways)])
        for way in range(len(ways))
        for row in range(len(prompts))
    ]


def asked_as(way):
    name, position = way
    return None if name is None else f"{name}@{position}"


def differing(expected, asked, texts):
    return [
        (row, way, text, expected[way][row])
        for (row, way), text in zip(asked, texts, strict=True)
        if not same(text, expected[way][row])
    ]


def same(ours, theirs):
    """Up to an end of text, behind which Hugging Face pads."""
    return ours.partition("<eos>")[:2] == theirs.partition("<eos>")[:2]
