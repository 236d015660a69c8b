"""vLLM steered by tables gives the tokens and log-probabilities of ``sl.generate``, whatever its scheduler does."""

import itertools

import pytest
from serving.conftest import COMPONENTS, ENGINE, N_NEW, POSITIONS, asked_as, differing, requests

pytestmark = pytest.mark.filterwarnings("ignore")  # of vLLM and what it imports

CHUNKED = {"max_num_batched_tokens": 64, "max_num_seqs": 16, "num_gpu_blocks_override": 24}


@pytest.fixture(scope="module")
def engine(vllm_settings, checkpoint, tables):  # noqa: ARG001  # a fixture takes no usefixtures
    """In chunks of 64 tokens over few cache blocks, so that requests are preempted; prefix cache on."""
    import sadi_lens as sl

    return sl.serving.VLLMEngine(
        checkpoint, tables, enable_prefix_caching=True, disable_log_stats=False, **ENGINE, **CHUNKED
    )


def texts_of(engine, prompts, asked):
    return engine.generate(
        [prompts[row] for row, _ in asked],
        [asked_as(way) for _, way in asked],
        max_new_tokens=N_NEW,
        skip_special_tokens=False,
    )


def counter(engine, name):
    return sum(one.value for one in engine.llm.get_metrics() if one.name == name)


def test_the_ways_to_steer_differ(expected):
    """Otherwise equal texts would mean nothing."""
    plain = expected[None, "every_step"]
    for name, position in itertools.product(COMPONENTS, POSITIONS):
        changed = sum(a != b for a, b in zip(plain, expected[name, position], strict=True))
        assert changed >= 5, (name, position, changed)


def test_greedy_tokens_equal_generate_mixed_chunked_cached_preempted(engine, expected, prompts):
    asked = requests(expected, prompts)
    texts = texts_of(engine, prompts, asked)
    assert differing(expected, asked, texts) == []
    assert counter(engine, "vllm:num_preemptions") > 0
    assert counter(engine, "vllm:prefix_cache_hits") > 0
    assert engine.llm.collective_rpc("sadi_lens_edited")[0] > len(asked)


def test_logprobs_of_the_tokens_are_those_of_the_hooked_model(
    engine, expected, model, interventions, prompts
):
    import torch
    from vllm import SamplingParams

    import sadi_lens as sl

    asked = requests(expected, prompts)
    ids = [model.tokenizer(prompts[row])["input_ids"] for row, _ in asked]
    params = [
        SamplingParams(
            temperature=0,
            max_tokens=N_NEW,
            logprobs=0,
            extra_args=None if asked_as(way) is None else {"sadi": asked_as(way)},
        )
        for _, way in asked
    ]
    outputs = engine.llm.generate(
        [{"prompt_token_ids": one} for one in ids], params, use_tqdm=False
    )
    worst = 0.0
    for (_, (name, position)), prompt, output in zip(asked, ids, outputs, strict=True):
        new = list(output.outputs[0].token_ids)
        text = torch.tensor([[*prompt, *new]])
        with (
            torch.inference_mode(),
            sl.steer(
                model, interventions.get(name), position=position, prompt_lengths=[len(prompt)]
            ),
        ):
            logprobs = model(text)[0].log_softmax(-1)[len(prompt) - 1 : -1]
        for step, token in enumerate(new):
            theirs = output.outputs[0].logprobs[step][token].logprob
            worst = max(worst, abs(float(logprobs[step, token]) - theirs))
    assert worst < 1e-4


def test_evaluate_gives_the_results_of_evaluate(engine, model, interventions, samples):
    import numpy as np

    import sadi_lens as sl

    for name, position in [(None, "last_prompt"), ("head", "last_prompt"), ("neuron", "all")]:
        for scoring in ("sum", "per_token"):
            ours = engine.evaluate(samples, name, position=position, scoring=scoring, task="words")
            theirs = sl.evaluate(
                model,
                samples,
                interventions.get(name),
                position=position,
                scoring=scoring,
                task="words",
                progress=False,
            )
            np.testing.assert_allclose(ours.choice_scores, theirs.choice_scores, atol=1e-4)
            assert (ours.correct == theirs.correct).all()
            assert (ours.valid == theirs.valid).all()
            assert (ours.items, ours.label, ours.split) == (
                theirs.items,
                theirs.label,
                theirs.split,
            )
            assert ours.model == theirs.model


def test_several_tables_at_once_fill_a_comparison(engine, model, interventions, samples):
    import numpy as np

    import sadi_lens as sl

    names = [None, "head", "neuron", "mlp_out"]
    for items, options in (
        (samples, {}),
        (samples, {"scoring": "generation", "max_new_tokens": 3}),
        ([sl.Sample("the ball is", target="red")], {"max_new_tokens": 3}),
    ):
        ours = engine.evaluate(items, names, position="all", task="words", **options)
        theirs = sl.evaluate(
            model,
            items,
            [interventions.get(one) for one in names],
            position="all",
            task="words",
            progress=False,
            **options,
        )
        assert [one.label for one in ours] == [one.label for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one.choice_scores, other.choice_scores, atol=1e-4)
            assert (one.correct == other.correct).all()
            assert (one.scoring, one.items) == (other.scoring, other.items)
        rows = sl.types.Comparison.of(ours).rows
        wanted = sl.types.Comparison.of(theirs).rows
        assert [(r.label, r.accuracy, r.gain, r.holm_p) for r in rows[1:]] == [
            (r.label, r.accuracy, r.gain, r.holm_p) for r in wanted[1:]
        ]
    with pytest.raises(ValueError, match="label must name every table: 0 for 0"):
        engine.evaluate(samples, [])
    with pytest.raises(ValueError, match="table must be one of"):
        engine.evaluate(samples, ["nobody"])


def second_turn(engine, prompts):
    """(with the cache, without): a longer text whose beginning was generated steered, asked unsteered."""
    from vllm import SamplingParams

    def run(rows, asked, skip, n):
        params = SamplingParams(
            temperature=0,
            max_tokens=n,
            logprobs=0,
            ignore_eos=True,
            skip_reading_prefix_cache=skip,
            extra_args=None if asked is None else {"sadi": asked},
        )
        return engine.llm.generate(
            [{"prompt_token_ids": row} for row in rows], params, use_tqdm=False
        )

    rows = [engine.tokenizer(one)["input_ids"] for one in prompts[-3:]]
    first = run(rows, "hidden@every_step", False, 60)
    longer = [[*row, *one.outputs[0].token_ids] for row, one in zip(rows, first, strict=True)]
    found = []
    for asked in (None, "hidden@every_step", "head@every_step", "hidden@all"):
        cached, fresh = run(longer, asked, False, 8), run(longer, asked, True, 8)
        found += [
            abs(next(iter(a.outputs[0].logprobs[0].values())).logprob
                - next(iter(b.outputs[0].logprobs[0].values())).logprob)
            if a.outputs[0].token_ids[0] == b.outputs[0].token_ids[0] else float("inf")
            for a, b in zip(cached, fresh, strict=True)
        ]  # fmt: skip
    return found


def test_a_second_turn_never_reads_what_was_computed_under_another_steering(
    engine, prompts, monkeypatch
):
    """And does without our part of the cache's key: the negative control."""
    from vllm.v1.core import block_pool, kv_cache_utils

    assert max(second_turn(engine, prompts)) < 1e-4
    own = kv_cache_utils.generate_block_hash_extra_keys

    def without(*args):
        keys, place = own(*args)
        kept = tuple(
            one for one in keys or () if not (isinstance(one, tuple) and one[0] == "sadi_lens")
        )
        return kept or None, place

    engine.llm.reset_prefix_cache()
    monkeypatch.setattr(kv_cache_utils, "generate_block_hash_extra_keys", without)
    monkeypatch.setattr(block_pool, "generate_block_hash_extra_keys", without)
    assert max(second_turn(engine, prompts)) > 1e-2
    engine.llm.reset_prefix_cache()


def test_tables_that_come_at_run_time(engine, model, interventions, prompts):
    import sadi_lens as sl

    late = sl.MaskedScaling(interventions["head"].mask, -2.0)
    with pytest.raises(ValueError, match="did you mean"):
        engine.generate(prompts[0], "late_head")
    engine.add({"late_head": late})
    with pytest.raises(ValueError, match="already"):
        engine.add({"late_head": late})
    ours = engine.generate(prompts[:4], "late_head", max_new_tokens=8)
    assert ours == sl.generate(model, prompts[:4], late, max_new_tokens=8)


def test_tensor_parallel_over_two_workers(vllm_settings, checkpoint, tables, expected, prompts):  # noqa: ARG001
    import sadi_lens as sl

    pair = sl.serving.VLLMEngine(
        checkpoint,
        tables,
        tensor_parallel_size=2,
        distributed_executor_backend="mp",
        max_num_seqs=32,
        **ENGINE,
    )
    asked = requests(expected, prompts)
    assert differing(expected, asked, texts_of(pair, prompts, asked)) == []
    assert all(edited > 0 for edited in pair.llm.collective_rpc("sadi_lens_edited"))


def test_an_untried_version_is_refused_loudly(vllm_settings, tables, monkeypatch):  # noqa: ARG001
    import vllm

    from sadi_lens.serving.plugin import register

    monkeypatch.setattr(vllm, "__version__", "9.9.9")
    register()  # not asked for: inert
    monkeypatch.setenv("SADI_LENS_TABLES", str(tables))
    with pytest.raises(RuntimeError, match=r"tried with vLLM 0.32.0, this is 9.9.9"):
        register()
