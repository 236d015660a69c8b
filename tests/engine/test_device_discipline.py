"""What runs a model, on a pretended CUDA device: no tensor is left on the CPU, no slow way is taken in silence.

The device refuses to mix as CUDA does and computes on the CPU (``pretend_cuda``), so the numbers are those of the CPU.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from pretend_cuda import TORCH, pretend_cuda

pytestmark = pytest.mark.skipif(
    torch.__version__.partition("+")[0] != TORCH or torch.cuda.is_available(),
    reason=f"the pretended device is built for a CPU build of torch {TORCH}",
)

ALONE = "SADI_LENS_ALONE"
backward = pytest.mark.skipif(
    ALONE not in os.environ,
    reason="a backward pass on the CPU fixes autograd's devices for the process: run by the last test",
)

POSITIONS = ("last_prompt", "every_step", "all")


def each_once(name, values):
    """Each of the three values at a position of its own; the other six cases are ``full``."""
    return pytest.mark.parametrize(
        ("position", name),
        [
            pytest.param(position, value, marks=() if row == column else pytest.mark.full)
            for row, position in enumerate(POSITIONS)
            for column, value in enumerate(values)
        ],
    )


@pytest.fixture(scope="module")
def models():
    """``tiny`` on the CPU, and where it goes by itself once there is CUDA; the device stays pretended."""
    import sadi_lens as sl

    plain = sl.load_model("tiny", dtype=torch.float32, device="cpu")
    with pretend_cuda():
        model = sl.load_model("tiny", dtype=torch.float32)
        assert {one.device.type for one in model.parameters()} == {"cuda"}
        yield plain, model


@pytest.fixture(scope="module")
def task():
    import sadi_lens as sl

    return sl.load_task("hints")


@pytest.fixture(scope="module")
def differences(models, task):
    """On either device."""
    import sadi_lens as sl

    return [sl.activation_differences(one, task.pairs[:12], progress=False) for one in models]


@pytest.fixture(scope="module")
def scaling(differences):
    import sadi_lens as sl

    return sl.MaskedScaling(sl.top_k_mask(differences[0]["head"], 6), 3.0)


@pytest.fixture(scope="module")
def interventions(models, task, differences, scaling):
    """On either device: one of each kind, what it is built from read there."""
    return [
        of_each_kind(model, task.pairs[:12], found, scaling.mask)
        for model, found in zip(models, differences, strict=True)
    ]


def of_each_kind(model, pairs, found, heads):
    import sadi_lens as sl

    room = sl.interventions
    masks = {one: sl.top_k_mask(found[one], 8) for one in ("hidden", "mlp_out", "neuron")}
    return {
        "head": sl.MaskedScaling(heads, 3.0),
        **{one: sl.MaskedScaling(mask, 3.0) for one, mask in masks.items()},
        "added": sl.MaskedAddition.from_differences(heads, found["head"], 2.0),
        "vector": sl.VectorAddition.from_differences(found["hidden"], 2, 2.0),
        "clamped": room.Clamped(sl.MaskedScaling(heads, 3.0)),
        "signed": room.SignedScaling.from_differences(heads, found["head"], 3.0),
        "spherical": room.SphericalSteering.from_differences(found["hidden"], 2),
        "aligner": room.InferAlignerGate.from_differences(found["hidden"], [2, 3]),
        "rotation": room.HouseholderRotation.from_pairs(model, pairs, 2, progress=False),
        "iti": room.ITI.from_pairs(model, pairs, heads, 3.0, progress=False),
        "austeer": room.AUSteer.from_pairs(model, pairs, 10, progress=False),
        "cast": room.CAST.from_pairs(model, pairs, 2, progress=False),
        "actadd": room.ActAdd.from_prompts(model, "good", "bad", 2, 2.0),
    }


def same(models, run, *per_model, atol=2e-5):
    """``run`` of either model (and what belongs to it) gives equal numbers."""
    want, got = (run(*one) for one in zip(models, *per_model, strict=True))
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=atol, rtol=1e-4)


def test_the_device_refuses_what_cuda_refuses():
    with pretend_cuda():
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        assert (there.device.type, here.device.type) == ("cuda", "cpu")
        for wrong in (
            lambda: here + there,
            lambda: there[:, None] @ here[None],
            lambda: here[there.long()],
            lambda: torch.cat([here, there]),
            lambda: torch.where(here > 0, there, there),
        ):
            with pytest.raises(RuntimeError, match="on the same device"):
                wrong()
        with pytest.raises(TypeError, match="can't convert cuda"):
            np.asarray(there)
        assert (there + 1.0 + torch.tensor(2.0)).tolist() == [4.0] * 3  # a scalar may be anywhere
        assert there[here.bool()].device.type == "cuda"  # and an index
        assert (there.cpu() + here).tolist() == [2.0] * 3


def test_the_fast_ways_are_taken(models, task, scaling):
    """What falls back in silence elsewhere: the raw model, trees of answers, the cache of a prompt."""
    import sadi_lens as sl
    from sadi_lens.engine.runner import RawRunner, runner_of

    sl.evaluate(models[1], task.test[:2], scaling, progress=False)
    runner = runner_of(models[1])
    assert isinstance(runner, RawRunner)
    assert runner.shares_prefix(20)


def test_differences(differences):
    for component, want in differences[0].items():
        got = differences[1][component]
        for name in ("mean", "std", "vector", "prompt_mean", "prompt_rms"):
            np.testing.assert_allclose(getattr(got, name), getattr(want, name), atol=2e-5)


@each_once("scoring", ["generation", "sum", "teacher_forced"])
def test_evaluation(models, task, interventions, position, scoring):
    import sadi_lens as sl

    def run(model, own):
        found = sl.evaluate(
            model,
            task.test[:4],
            [None, *own.values()],
            position=position,
            scoring=scoring,
            max_new_tokens=4,
            progress=False,
        )
        return [one.choice_scores for one in found] + [one.correct for one in found]

    same(models, run, interventions, atol=1e-4)


def test_evaluation_text_by_text(models, task, scaling):
    import sadi_lens as sl

    options = {"engine": "plain", "scoring": "pmi", "progress": False}
    same(models, lambda one: [sl.evaluate(one, task.test[:3], scaling, **options).choice_scores])


@each_once("more", [{"num_beams": 2}, {}, {"do_sample": True, "temperature": 0.7}])
def test_generation(models, task, interventions, position, more):
    import sadi_lens as sl

    texts = []
    for model, own in zip(models, interventions, strict=True):
        torch.manual_seed(3)
        which = own["head"] if more else list(own.values())
        prompts = [one.prompt for one in task.test[: 2 if more else len(own)]]
        texts.append(
            sl.generate(model, prompts, which, position=position, max_new_tokens=5, **more)
        )
    assert texts[0] == texts[1]


def test_sweep_null_and_compare(models, task, differences, scaling):
    import dataclasses

    import sadi_lens as sl

    small = dataclasses.replace(
        task, pairs=task.pairs[:12], dev=task.dev[:6], test=task.test[:6], pair_items=()
    )

    def run(model):
        found = sl.sweep(
            model, small.dev, differences[0]["head"], (1, 4), (1.0, 5.0), progress=False
        )
        null = sl.measure.null_band(model, small.test, scaling.mask, 3.0, n=5, progress=False)
        table = sl.compare(
            model,
            small,
            ["sadi", "caa"],
            budget=2,
            n_null=0,
            progress=False,
        )
        rows = [row for one in table.rows for row in (one.accuracy, one.margin, one.gain)]
        return [found.accuracy, found.margin, null.accuracies, null.margins, rows]

    same(models, run)


def test_steering_by_hand(models, task, interventions):
    import sadi_lens as sl

    def run(model, own):
        ids, found = model.to_tokens(task.test[0].prompt), []
        for one in own.values():
            with torch.no_grad(), sl.steer(model, one, prompt_lengths=[ids.shape[1]]):
                found.append(model(ids).detach().float().cpu().numpy())
        return found

    same(models, run, interventions, atol=1e-4)


@backward
@pytest.mark.parametrize("ranking", ["effect", "attribution", "gradient", "consistency"])
def test_rankings(models, task, ranking):
    import sadi_lens as sl

    def run(model):
        return [sl.unit_scores(model, task.pairs[:8], "head", ranking, progress=False).values]

    same(models, run, atol=1e-4)


@backward
def test_pruning_effects_push_and_activations(models, task, scaling):
    import sadi_lens as sl

    room, prompts = sl.measure, [one.prompt for one in task.test[:3]]

    def run(model):
        pruned = room.prune_mask(
            model, task.dev[:5], scaling.mask, 3.0, n_candidates=2, progress=False
        )
        effects = room.unit_effects(model, task.dev[:5], scaling.mask, 3.0, progress=False)
        push = room.measure_push(model, prompts, scaling, progress=False)
        units = sl.find.unit_differences(model, task.pairs[:5], scaling.mask, progress=False)
        return [effects.effects, push.mean, units.values, pruned.mask.selected]

    same(models, run)


def test_receipts_checks_traces_and_side_effects(models, task, scaling):
    import sadi_lens as sl

    room, prompt, texts = sl.measure, task.test[0].prompt, []

    def run(model):
        receipt = room.receipt(model, prompt, scaling, position="every_step", max_new_tokens=4)
        assert room.check(model, scaling, n_steps=2)
        trace = room.trace_generation(model, prompt, scaling, max_new_tokens=3)
        effects = room.side_effects(model, [prompt], scaling, max_new_tokens=8)
        texts.append((receipt.text, receipt.firings, trace.tokens))
        return [trace.logp, trace.kl, trace.edit_norm, [effects.kl, effects.perplexity_ratio]]

    same(models, run, atol=1e-4)
    assert texts[0] == texts[1]


def test_folding(models, scaling, tmp_path):
    from safetensors.torch import load_file

    import sadi_lens as sl

    found = []
    for name, model in zip(("cpu", "cuda"), models, strict=True):
        folder = sl.interventions.export_folded(model, scaling, tmp_path / name)
        found.append(load_file(folder / "model.safetensors"))
    assert found[0].keys() == found[1].keys()
    for name, want in found[0].items():
        torch.testing.assert_close(found[1][name].cpu(), want)


@pytest.mark.skipif(ALONE in os.environ, reason="this is that process")
def test_what_runs_backward_in_a_process_of_its_own():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "rankings or pruning",
            __file__,
        ],
        env=os.environ | {ALONE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "5 passed" in done.stdout
