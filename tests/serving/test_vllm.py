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
            assert (ours.form, bool(ours.form)) == (theirs.form, True)
    bare = engine.evaluate(samples, prepend_bos=False)
    wanted = sl.evaluate(model, samples, prepend_bos=False, progress=False)
    assert bare.form == wanted.form != theirs.form
    assert not bare.is_alike(ours)


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


def huge(model, unit=(2, 7), strength=1e30):
    """Takes the model out of the range of numbers: hidden behind norms its logits are finite, and wrong."""
    import sadi_lens as sl

    return sl.MaskedScaling(sl.Mask.from_units("head", [unit], model), strength)


def test_what_overflows_ends_with_an_error_and_its_neighbours_do_not(
    engine, model, expected, prompts, samples
):
    import sadi_lens as sl

    wide = sl.Mask.from_units("hidden", [(1, 5)], model)
    bad = {"huge": huge(model), "wide": sl.MaskedScaling(wide, -1e25)}
    engine.add(bad)
    for name, one in bad.items():
        for position in POSITIONS:
            with pytest.raises(sl.types.NotFiniteError):
                sl.generate(model, prompts[-1], one, position=position, max_new_tokens=4)
            with pytest.raises(sl.types.NotFiniteError, match=f"under '{name}@{position}'"):
                engine.generate(prompts[-1], name, position=position, max_new_tokens=4)
        for scoring in ("sum", "generation"):
            with pytest.raises(sl.types.NotFiniteError, match=f"under '{name}@last_prompt'"):
                engine.evaluate(samples, [None, name], scoring=scoring)
    from vllm import SamplingParams

    rows = [engine.tokenizer(one)["input_ids"] for one in prompts]
    asked = [("huge@every_step", None, "head@all")[row % 3] for row in range(len(rows))]
    found = engine.llm.generate(
        [{"prompt_token_ids": one} for one in rows],
        [
            SamplingParams(
                temperature=0, max_tokens=N_NEW, extra_args=None if one is None else {"sadi": one}
            )
            for one in asked
        ],
        use_tqdm=False,
    )
    for row, (name, one) in enumerate(zip(asked, found, strict=True)):
        if name == "huge@every_step":
            assert one.outputs[0].finish_reason == "error"
            continue
        wanted = expected[None, "all"] if name is None else expected["head", "all"]
        text = engine.tokenizer.decode(one.outputs[0].token_ids)
        assert text.partition("<eos>")[0] == wanted[row].partition("<eos>")[0]


def test_what_overflowed_is_not_read_from_the_cache_without_a_word(engine, model, prompts):
    """One edited token in the first chunk of a longer text, which the cache keeps: nothing is edited again."""
    from vllm import SamplingParams

    engine.add({"early": huge(model, (2, 3))})
    ids = engine.tokenizer(prompts[-1])["input_ids"]
    assert len(ids) > 40
    other = [*ids[:3], *ids[5:]]

    def reason(text, **asked):
        params = SamplingParams(temperature=0, max_tokens=2, ignore_eos=True, extra_args=asked)
        (found,) = engine.llm.generate([{"prompt_token_ids": text}], params, use_tqdm=False)
        return found.outputs[0].finish_reason

    early = {"sadi": "early@last_prompt", "sadi_prompt_tokens": 5}
    assert [reason(ids, **early) for _ in range(2)] == ["error", "error"]
    assert reason([*ids, *ids[:5]], **early) == "error"
    assert reason(other, **early) == "error"
    assert [reason(ids), reason(ids, sadi="head@last_prompt", sadi_prompt_tokens=5)] == [
        "length",
        "length",
    ]


def test_a_strength_below_the_bound_is_no_overflow(engine, model, prompts):
    import sadi_lens as sl

    strong = huge(model, strength=1e9)
    engine.add({"strong": strong})
    ours = engine.generate(prompts[:4], "strong", max_new_tokens=6)
    assert ours == sl.generate(model, prompts[:4], strong, max_new_tokens=6)


def test_prompts_of_every_kind_and_stops_as_in_generate(engine, model, interventions, prompts):
    import sadi_lens as sl

    head = interventions["head"]
    ids = [engine.tokenizer(one)["input_ids"] for one in prompts[:3]]
    whole = engine.generate(prompts[:3], "head", max_new_tokens=8)
    assert engine.generate(ids, "head", max_new_tokens=8) == whole
    assert engine.generate([], "head") == sl.generate(model, [], head) == []
    assert engine.generate("", "head") == sl.generate(model, "", head)
    for stop in (whole[0].split()[2], [whole[1].split()[1], "nowhere"]):
        assert engine.generate(prompts[:3], "head", max_new_tokens=8, stop=stop) == sl.generate(
            model, prompts[:3], head, max_new_tokens=8, stop_strings=stop
        )
    third = model.tokenizer(whole[0], add_special_tokens=False)["input_ids"][2]
    eos = model.tokenizer.eos_token_id
    assert engine.generate(
        prompts[:3], "head", max_new_tokens=8, stop_token_ids=[third]
    ) == sl.generate(model, prompts[:3], head, max_new_tokens=8, eos_token_id=[eos, third])


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"n": 2}, ValueError, "n=2 is not for generate: repeat a prompt"),
        ({"max_tokens": 2}, ValueError, "max_tokens=2 is not for generate: give max_new_tokens"),
        ({"extra_args": {"sadi": "head"}}, ValueError, "is not for generate: name a table"),
        ({"logprobs": 2}, ValueError, "is not for generate"),
        ({"include_stop_str_in_output": False}, ValueError, "what stop names stays"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens must be at least 1, got 0"),
        ({"max_new_tokens": True}, TypeError, "max_new_tokens must be a whole number"),
        (
            {"max_new_tokens": 400},
            ValueError,
            r"context of 256 tokens, got \d+ \+ max_new_tokens 400",
        ),
        ({"table": 3}, TypeError, "table must be text or a list of texts"),
        ({"table": "head@"}, ValueError, "position must be one of"),
        ({"prompts": None}, TypeError, "prompts must be text"),
        ({"prompts": [[3, 10**6]]}, ValueError, "the model embeds"),
        ({"prompts": [[]]}, ValueError, "at least one token"),
    ],
)
def test_what_would_be_dropped_or_cut_is_refused(engine, options, kind, words):
    given = {"prompts": "the ball is", "table": "head", **options}
    with pytest.raises(kind, match=words):
        engine.generate(**given)


def test_a_result_says_the_position_that_its_table_acted_at(engine, model, interventions, samples):
    import numpy as np

    import sadi_lens as sl

    with pytest.raises(
        ValueError, match="one position for all tables, 'last_prompt', got 'head@al"
    ):
        engine.evaluate(samples, "head@all", label="x")
    ours = engine.evaluate(samples, "head@all", position="all")
    theirs = sl.evaluate(model, samples, interventions["head"], position="all", progress=False)
    assert (ours.position, ours.label) == (theirs.position, theirs.label)
    np.testing.assert_allclose(ours.choice_scores, theirs.choice_scores, atol=1e-4)
    with pytest.raises(ValueError, match="must fit the context of 256 tokens"):
        engine.evaluate([sl.Sample("the ball is " * 100, (" red", " blue"), 0)], "head")


def test_every_one_of_several_samples_is_steered(engine, model, interventions, prompts):
    """n > 1: each sample's tokens have the probabilities of the hooked model."""
    import torch
    from vllm import SamplingParams

    import sadi_lens as sl

    ids = engine.tokenizer(prompts[0])["input_ids"]
    params = SamplingParams(
        n=4, seed=3, max_tokens=6, logprobs=0, extra_args={"sadi": "hidden@every_step"}
    )
    (found,) = engine.llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
    assert len({tuple(one.token_ids) for one in found.outputs}) > 1
    for one in found.outputs:
        text = torch.tensor([[*ids, *one.token_ids]])
        with (
            torch.inference_mode(),
            sl.steer(
                model, interventions["hidden"], position="every_step", prompt_lengths=[len(ids)]
            ),
        ):
            wanted = model(text)[0].log_softmax(-1)[len(ids) - 1 : -1]
        for step, token in enumerate(one.token_ids):
            assert abs(float(wanted[step, token]) - one.logprobs[step][token].logprob) < 1e-4


def test_end_of_text_is_that_of_the_revision(
    engine, checkpoint, tables, prompts, monkeypatch, tmp_path
):
    """Of a model on the Hub; the engine that runs is the one at hand."""
    import shutil

    import vllm

    import sadi_lens as sl
    from sadi_lens.serving import client

    old = shutil.copytree(checkpoint, tmp_path / "old")
    blue = engine.tokenizer.convert_tokens_to_ids(" blue")
    (old / "generation_config.json").write_text(f'{{"eos_token_id": [2, {blue}]}}')
    wanted = sl.generate(sl.load_model(old), prompts, max_new_tokens=N_NEW)
    monkeypatch.setattr(
        client, "checkpoint_folder", lambda *asked: {("hub/name", "old"): old}[asked]
    )
    monkeypatch.setattr(vllm, "LLM", lambda **_: engine.llm)
    ours = sl.serving.VLLMEngine("hub/name", tables, revision="old")
    assert ours.generate(prompts, max_new_tokens=N_NEW) == wanted
    assert wanted != engine.generate(prompts, max_new_tokens=N_NEW)


def test_weights_are_not_replaced_under_the_tables(engine, model, checkpoint, prompts, tmp_path):
    """By another checkpoint of this shape, which the tables were not made on: what it answers stays as it was."""
    import shutil

    from safetensors.torch import load_file, save_file

    import sadi_lens as sl

    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    weights = load_file(checkpoint / "model.safetensors")
    mirrored = {name: one.flip(0).contiguous() for name, one in weights.items()}
    save_file(mirrored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(RuntimeError, match="weights cannot be reloaded while tables steer them"):
        engine.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(tmp_path)})
    engine.llm.reset_prefix_cache()
    assert engine.generate(prompts[0], max_new_tokens=4) == sl.generate(
        model, prompts[0], max_new_tokens=4
    )


def test_tensor_parallel_over_two_workers(
    vllm_settings,  # noqa: ARG001
    checkpoint,
    tables,
    model,
    expected,
    prompts,
):
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
    for unit in ((2, 0), (2, 7)):  # a head of each worker
        pair.add({f"huge{unit[1]}": huge(model, unit)})
        with pytest.raises(sl.types.NotFiniteError, match=f"huge{unit[1]}"):
            pair.generate(prompts[:2], [None, f"huge{unit[1]}"])
    assert pair.generate(prompts[0], max_new_tokens=4) == sl.generate(
        model, prompts[0], max_new_tokens=4
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("hf_overrides", {"rope_theta": 5.0}, "a configuration other than the checkpoint's"),
        ("hf_config_path", "elsewhere", "a configuration other .* --hf-config-path out"),
        ("runner_type", "pooling", "pooling .*: leave --runner and --convert out"),
        ("enable_sleep_mode", True, "leave --enable-sleep-mode out"),
        ("weight_transfer_config", object(), "leave --weight-transfer-config out"),
        ("model_class_overrides", {"LlamaForCausalLM": "x:Y"}, "another implementation"),
        ("load_format", "dummy", "weights other than the checkpoint's"),
        ("model_impl", "transformers", "another implementation"),
        ("cache_dtype", "fp8", "a KV cache of another dtype"),
    ],
)
def test_a_model_other_than_that_of_the_tables_is_refused(engine, monkeypatch, name, value, words):
    """The checkpoint on disk is compared; these would run something else."""
    from sadi_lens.serving.worker import require_plain

    config = engine.llm.llm_engine.vllm_config
    require_plain(config)
    parts = (config, config.model_config, config.load_config, config.cache_config)
    part = next(one for one in parts if hasattr(one, name))
    monkeypatch.setattr(part, name, value)
    with pytest.raises(RuntimeError, match=words):
        require_plain(config)


def test_settings_of_the_engine_itself_are_not_overridden(vllm_settings, checkpoint, tables):  # noqa: ARG001
    import sadi_lens as sl

    with pytest.raises(ValueError, match="enforce_eager is set by VLLMEngine itself, got False"):
        sl.serving.VLLMEngine(checkpoint, tables, enforce_eager=False)
    with pytest.raises(ValueError, match="logprobs_mode is set by VLLMEngine itself, got 'raw_log"):
        sl.serving.VLLMEngine(checkpoint, tables, logprobs_mode="raw_logits")


def test_an_untried_version_is_refused_loudly(vllm_settings, tables, monkeypatch):  # noqa: ARG001
    import vllm

    from sadi_lens.serving.plugin import register

    monkeypatch.setattr(vllm, "__version__", "9.9.9")
    register()  # not asked for: inert
    monkeypatch.setenv("SADI_LENS_TABLES", str(tables))
    with pytest.raises(RuntimeError, match=r"tried with vLLM 0.32.0, this is 9.9.9"):
        register()
