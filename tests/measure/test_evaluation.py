"""Scoring, sweeps, controls: values, bad input, interruption."""

import contextlib
import dataclasses

import pytest


def test_scoring_per_token_divides_by_the_length(llama, samples):
    import numpy as np

    import sadi_lens as sl

    total = sl.evaluate(llama, samples, progress=False)
    mean = sl.evaluate(llama, samples, scoring="per_token", progress=False)
    lengths = np.array([[1, 1, np.nan], [1, 3, 1], [1, 2, np.nan], [1, 1, np.nan]])
    np.testing.assert_allclose(mean.choice_scores, total.choice_scores / lengths, rtol=1e-6)
    bytes_ = sl.evaluate(llama, samples, scoring="per_byte", progress=False)
    # red, blue; box, big red box, ball; hat, red hat; A, B
    lengths = np.array([[3, 4, np.nan], [3, 11, 4], [3, 7, np.nan], [1, 1, np.nan]])
    np.testing.assert_allclose(bytes_.choice_scores, total.choice_scores / lengths, rtol=1e-6)


def test_an_answer_is_valid_when_the_next_token_begins_a_choice(llama):
    import torch

    import sadi_lens as sl

    prompt = "the ball is"
    with torch.inference_mode():
        top = llama(torch.tensor([llama.tokenizer(prompt)["input_ids"]]))[0, -1].argmax()
    word = llama.tokenizer.decode([int(top)])
    others = [w for w in (" red", " box", " hat") if w != word]
    hit = sl.Sample(prompt, (others[0], word + " was" if word.strip() else others[1]), 0)
    miss = sl.Sample(prompt, tuple(others[:2]), 0)
    found = sl.evaluate(llama, [hit, miss], progress=False)
    assert found.valid.tolist() == [True, False]
    assert found.valid_rate == 0.5


@pytest.mark.parametrize("way", ["raw", "bridge"])
def test_chunks_and_batches_do_not_change_the_scores(llama, differences, samples, monkeypatch, way):
    import numpy as np
    from factories import no_free_memory, on_the_bridge

    import sadi_lens as sl

    cells = [
        None,
        *(sl.MaskedScaling(sl.top_k_mask(differences["neuron"], k), 2.0) for k in (1, 5, 9)),
    ]
    with on_the_bridge(llama) if way == "bridge" else contextlib.nullcontext():
        whole = sl.evaluate(llama, samples, cells, progress=False)
        no_free_memory(monkeypatch)
        single = sl.evaluate(llama, samples, cells, progress=False)
    for one, two in zip(whole, single, strict=True):
        np.testing.assert_allclose(one.choice_scores, two.choice_scores, atol=2e-5)


def test_an_intervention_that_is_not_affine_is_run_row_by_row(llama, differences, samples):
    import numpy as np
    import torch

    import sadi_lens as sl

    @dataclasses.dataclass(frozen=True)
    class Squash:
        component: str = "head"
        layers: tuple = (0, 2)
        label: str = "squash"

        def edit(self, activation, _layer):
            return torch.tanh(activation)

        def check(self, info):
            pass

    affine = sl.MaskedScaling(sl.top_k_mask(differences["head"], 4), 2.0)
    together = sl.evaluate(llama, samples, [None, Squash(), affine], progress=False)
    for found, intervention in zip(together, [None, Squash(), affine], strict=True):
        alone = sl.evaluate(llama, samples, intervention, progress=False)
        np.testing.assert_allclose(found.choice_scores, alone.choice_scores, atol=2e-5)
    assert not np.allclose(together[0].choice_scores, together[1].choice_scores, equal_nan=True)


def test_one_batch_may_mix_components(llama, differences, samples):
    import numpy as np

    import sadi_lens as sl

    cells = [
        sl.MaskedScaling(sl.top_k_mask(differences[name], 3), 2.0)
        for name in ("head", "hidden", "mlp_out", "neuron")
    ]
    together = sl.evaluate(llama, samples, cells, progress=False)
    for found, cell in zip(together, cells, strict=True):
        alone = sl.evaluate(llama, samples, cell, progress=False)
        np.testing.assert_allclose(found.choice_scores, alone.choice_scores, atol=2e-5)


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        (" The  Red, box. And more", "red box", True),
        (" red box\nQuestion", "the red box", True),
        (" 3.5 metres.", "3.5 metres", True),
        (" St. Louis.", "St. Louis", True),
        (" St. Paul", "St. Louis", False),
        (" A", "A", True),
        (" the", "A", False),
        ("", "A", False),
        (" !", "?", False),
        (" red", "red box", False),
        (" red box and hat", "red box", False),
    ],
)
def test_free_text_is_right_when_its_first_line_or_sentence_is_the_target(text, target, expected):
    from sadi_lens.types.answers import matches

    assert matches(text, target) is expected


def test_free_text_is_generated_and_compared(llama):
    import sadi_lens as sl

    text = sl.generate(llama, "the ball is", max_new_tokens=16)[0]
    right = sl.Sample("the ball is", target=text.strip())
    found = sl.evaluate(llama, [right, sl.Sample("the", target="no such answer")], progress=False)
    assert found.scoring == "exact_match"
    assert found.correct.tolist() == [True, False]
    assert found.texts[0] == text
    with pytest.raises(ValueError, match="all have choices or all have a target"):
        sl.evaluate(llama, [right, sl.Sample("a", (" red", " box"), 0)], progress=False)


def test_the_checkpoints_own_generation_penalties_do_not_apply():
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama(seed=1)
    plain = sl.generate(sl.load_model(hf, tokenizer=tokenizer), "the ball is", max_new_tokens=12)
    hf.generation_config.repetition_penalty = 5.0
    model = sl.load_model(hf, tokenizer=tokenizer)
    assert sl.generate(model, "the ball is", max_new_tokens=12) == plain
    assert model.original_model.generation_config.repetition_penalty == 5.0
    assert sl.generate(model, "the ball is", max_new_tokens=12, repetition_penalty=5.0) != plain
    with pytest.raises(ValueError, match=r"sets \['num_return_sequences'\] itself"):
        sl.generate(model, "the", num_return_sequences=2)


def test_prepend_bos_reaches_the_scores(llama, samples):
    import numpy as np

    import sadi_lens as sl

    plain = sl.evaluate(llama, samples, progress=False).choice_scores
    same = sl.evaluate(llama, samples, prepend_bos=True, progress=False).choice_scores
    without = sl.evaluate(llama, samples, prepend_bos=False, progress=False).choice_scores
    assert np.allclose(plain, same, equal_nan=True)
    assert not np.allclose(plain, without, atol=1e-3, equal_nan=True)


def test_a_sliding_window_shorter_than_the_prompt_is_scored_right(samples):
    """The cache of such layers is repeated by its own update; compared with whole texts."""
    import torch
    from factories import word_tokenizer
    from transformers import MistralConfig, MistralForCausalLM

    import sadi_lens as sl

    tokenizer = word_tokenizer()
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=4, initializer_range=0.3,
        max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = sl.load_model(MistralForCausalLM(config).eval(), tokenizer=tokenizer)
    cells = [None, sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1), (2, 3)], model), 3.0)]
    for found, cell in zip(sl.evaluate(model, samples, cells, progress=False), cells, strict=True):
        for row, sample in enumerate(samples):
            length = len(tokenizer(sample.prompt)["input_ids"])
            for column, choice in enumerate(sample.choices):
                text = torch.tensor([tokenizer(sample.prompt + choice)["input_ids"]])
                with torch.inference_mode(), sl.steer(model, cell, prompt_lengths=[length]):
                    logprobs = model(text)[0].log_softmax(dim=-1)
                score = sum(
                    float(logprobs[i - 1, text[0, i]]) for i in range(length, text.shape[1])
                )
                assert found.choice_scores[row, column] == pytest.approx(score, abs=5e-5)


def test_a_half_precision_model_is_scored_in_its_own_dtype(samples):
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama()
    model = sl.load_model(hf.bfloat16(), tokenizer=tokenizer)
    cells = [None, sl.MaskedScaling(sl.Mask.from_units("neuron", [(0, 1), (1, 3)], model), 2.3)]
    together = sl.evaluate(model, samples, cells, progress=False)
    for found, cell in zip(together, cells, strict=True):
        alone = sl.evaluate(model, samples, cell, progress=False)
        # bfloat16 keeps 8 bits; logits here reach about 20.
        assert abs(found.margins - alone.margins).max() < 0.5


@pytest.mark.parametrize("call", ["evaluate", "differences", "generate"])
def test_a_model_in_training_mode_is_refused(llama, pairs, samples, call):
    import sadi_lens as sl

    llama.original_model.train()
    try:
        with pytest.raises(
            ValueError, match=r"must be in eval mode; found training mode at .*model\.eval"
        ):
            {
                "evaluate": lambda: sl.evaluate(llama, samples),
                "differences": lambda: sl.activation_differences(llama, pairs),
                "generate": lambda: sl.generate(llama, "the"),
            }[call]()
    finally:
        llama.original_model.eval()


def test_texts_that_do_not_fit_or_tokenise_are_refused(llama):
    import sadi_lens as sl

    long = ("the red ball is in the box . " * 9).strip()  # 72 tokens and BOS, context 64
    with pytest.raises(
        ValueError,
        match=r"1 of 1 samples must fit the context of 64 tokens; too long are rows \(tokens\) 0 \(74\)",
    ):
        sl.evaluate(llama, [sl.Sample(long, (" red", " blue"), 0)], progress=False)
    with pytest.raises(
        ValueError, match=r"1 of 1 pairs must fit the context of 64 tokens.* 0 \(74\)"
    ):
        sl.activation_differences(
            llama, [sl.ContrastivePair(long, " red", " blue")], progress=False
        )
    with pytest.raises(ValueError, match=r"got 4 \+ max_new_tokens 61"):
        sl.generate(llama, "the ball is", max_new_tokens=61)
    words = sl.models.planted_model()  # splits at spaces, so a space adds nothing
    with pytest.raises(ValueError, match="answer ' ' adds no token to the prompt"):
        sl.evaluate(words, [sl.Sample("the sky is", (" ", " sunny"), 0)], progress=False)
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1, got 0"):
        sl.generate(llama, "the", max_new_tokens=0)


def test_empty_lists_and_unknown_names_are_refused(llama, differences, samples):
    import sadi_lens as sl

    with pytest.raises(ValueError, match="interventions must hold at least 1"):
        sl.evaluate(llama, samples, [])
    with pytest.raises(ValueError, match="label must name every intervention: 1 for 2"):
        sl.evaluate(llama, samples, [None, None], label=["x"])

    with pytest.raises(ValueError, match="samples must hold at least 1 item, got 0"):
        sl.evaluate(llama, [])
    with pytest.raises(ValueError, match="pairs must hold at least 1 contrastive pair, got 0"):
        sl.activation_differences(llama, [])
    with pytest.raises(ValueError, match="got 'last_promt'; did you mean 'last_prompt'"):
        sl.evaluate(llama, samples, position="last_promt")
    with (
        pytest.raises(ValueError, match="got 'everystep'; did you mean 'every_step'"),
        sl.steer(llama, None, position="everystep"),
    ):
        pass
    with pytest.raises(ValueError, match="got 'mean'"):
        sl.evaluate(llama, samples, scoring="mean")
    with pytest.raises(ValueError, match="got 'neurons'; did you mean 'neuron'"):
        sl.activation_differences(
            llama, [sl.ContrastivePair("the", " red", " box")], components=["neurons"]
        )
    with pytest.raises(ValueError, match=r"k must be in \[1, 12\], got 13"):
        sl.sweep(llama, samples, differences["head"], [1, 13], [1.0])
    with pytest.raises(ValueError, match="ks and strengths must not be empty"):
        sl.sweep(llama, samples, differences["head"], [], [1.0])
    with pytest.raises(ValueError, match="strengths must be finite, got nan"):
        sl.sweep(llama, samples, differences["head"], [1], [float("nan")])
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        sl.measure.null_band(llama, samples, sl.top_k_mask(differences["head"], 2), 1.0, n=0)


def test_a_mask_of_another_model_is_refused(llama, samples, differences):
    import sadi_lens as sl

    info = dataclasses.replace(differences["head"].model, name="other", n_layers=5)
    alien = sl.MaskedScaling(sl.Mask.from_units("head", [(4, 0)], info), 1.0)
    message = "mask has 5 layers x 4 head units, but .* has 3 x 4"
    with pytest.raises(ValueError, match=message), sl.steer(llama, alien):
        pass
    with pytest.raises(ValueError, match=message):
        sl.evaluate(llama, samples, alien)
    with pytest.raises(ValueError, match=message):
        sl.generate(llama, "the", alien)


def test_there_is_one_prompt_length_a_row(llama, differences):
    import torch

    import sadi_lens as sl

    scaling = sl.MaskedScaling(sl.top_k_mask(differences["head"], 2), 1.0)
    ids = torch.tensor([llama.tokenizer("the ball is")["input_ids"]])
    with (
        pytest.raises(ValueError, match="prompt_lengths must match the batch: got 2 for 1 rows"),
        sl.steer(llama, scaling, prompt_lengths=[3, 4]),
    ):
        llama(ids)


def test_prompt_lengths_must_fit_their_rows(llama, differences):
    import torch

    import sadi_lens as sl

    scaling = sl.MaskedScaling(sl.top_k_mask(differences["head"], 2), 1.0)
    ids = torch.tensor([llama.tokenizer("the ball is")["input_ids"]])
    with (
        pytest.raises(
            ValueError, match=r"prompt_lengths must be in \[1, tokens of the row\], got \[9\]"
        ),
        sl.steer(llama, scaling, prompt_lengths=[9]),
    ):
        llama(ids)


@pytest.fixture
def stop_after(monkeypatch):
    """Ctrl-C after so many items: stop_after(n) -> the list of items scored from then on."""
    from sadi_lens.measure import outcomes

    real = outcomes.score_answers

    def arrange(n):
        calls = []

        def one_by_one(model, items, *args, **settings):
            for index, item in enumerate(items):
                if len(calls) == n:
                    raise KeyboardInterrupt
                calls.append(item)
                for found in real(model, [item], *args, **settings):
                    yield found._replace(indices=[index])

        monkeypatch.setattr(outcomes, "score_answers", one_by_one)
        return calls

    arrange(
        None
    )  # also what is not stopped goes one by one, so that its numbers are the same to the bit
    return arrange


def test_ctrl_c_in_a_sweep_keeps_what_was_finished_and_resume_runs_the_rest(
    llama, differences, samples, stop_after
):
    import numpy as np

    import sadi_lens as sl

    def run(ks=(1, 3), **more):
        strengths = [1.0, 4.0]
        settings = {"progress": False, "keep_items": True, **more}
        return sl.sweep(llama, samples, differences["head"], ks, strengths, **settings)

    whole = run()
    stop_after(1)
    with pytest.raises(sl.measure.SweepInterrupted, match="1 items scored") as first:
        run()
    partial = first.value.partial
    assert partial.n == 1
    assert np.isfinite(partial.accuracy).all()
    assert partial.accuracy.shape == whole.accuracy.shape
    assert isinstance(first.value, KeyboardInterrupt)
    for layer in range(3):
        assert not llama.get_hook_point(f"blocks.{layer}.attn.hook_z").fwd_hooks
    stop_after(1)  # and once more
    with pytest.raises(sl.measure.SweepInterrupted, match="2 items scored") as second:
        run(resume=first.value)
    ran = stop_after(None)
    again = run(resume=second.value)
    assert len(ran) == len(samples) - 2
    for name in ("accuracy", "margin", "valid_rate", "correct", "unsteered_correct"):
        np.testing.assert_allclose(getattr(again, name), getattr(whole, name), atol=1e-5)
    assert again.n == whole.n == len(samples)
    with pytest.raises(ValueError, match="another call: interventions, label differ"):
        run((1, 2), resume=first.value)
    with pytest.raises(ValueError, match="another call: position, prepend_bos differ"):
        run(resume=first.value, position="all", prepend_bos=False)
    stop_after(0)
    with pytest.raises(sl.measure.SweepInterrupted, match="0 items scored") as caught:
        run()
    assert caught.value.partial is None
    stop_after(None)
    assert run(resume=caught.value) == whole


@pytest.mark.filterwarnings("ignore:the mask was made on")
def test_resume_takes_what_stopped_the_same_call_of_the_same_model(
    differences, samples, stop_after
):
    import pickle

    import torch
    from factories import random_llama

    import sadi_lens as sl

    hf, tokenizer = random_llama(seed=5)
    model = sl.load_model(hf, tokenizer=tokenizer)

    class Own:
        """An intervention of somebody's own, with no notion of equality."""

        component, layers, label = "hidden", (1,), "own"

        def edit(self, activation, layer):
            return activation * (1 + layer)

        def check(self, info):
            assert info.n_layers == 3

    def run(task="hats", items=samples, **more):
        several = [None, Own(), sl.MaskedScaling(sl.top_k_mask(differences["head"], 3), 2.0)]
        return sl.evaluate(model, items, several, task=task, progress=False, **more)

    whole = run()
    stop_after(1)
    with pytest.raises(sl.measure.EvaluationInterrupted) as caught:
        run()
    stopped = caught.value
    assert stopped.done.sum() == 1
    again = pickle.loads(
        pickle.dumps(sl.measure.EvaluationInterrupted(stopped.partial, stopped.done, {}))
    )
    assert (again.partial, str(again)) == (stopped.partial, str(stopped))
    stop_after(None)
    assert [one.accuracy for one in run(resume=stopped)] == [one.accuracy for one in whole]
    grouped = [
        dataclasses.replace(one, group=f"group {row % 2}") for row, one in enumerate(samples)
    ]
    stop_after(2)
    with pytest.raises(sl.measure.EvaluationInterrupted) as caught:
        run(items=grouped)
    stop_after(None)
    resumed = run(items=grouped, resume=caught.value)
    assert [one.groups for one in resumed] == 3 * [tuple(one.group for one in grouped)]
    with pytest.raises(ValueError, match="another call: task differ"):
        run(task="other", resume=stopped)
    with pytest.raises(ValueError, match="another call: label differ"):
        run(label=["a", "b", "c"], resume=stopped)
    with torch.no_grad():
        hf.model.layers[1].mlp.down_proj.weight.mul_(1.5)
    with pytest.raises(ValueError, match="another call: weights differ"):
        run(resume=stopped)
    with pytest.raises(TypeError, match="resume must be a SweepInterrupted or None, got an Evalu"):
        sl.sweep(model, samples, differences["head"], [1], [1.0], progress=False, resume=stopped)


@pytest.mark.parametrize("scoring", ["sum", "per_token", "pmi", "teacher_forced"])
def test_a_resumed_evaluation_equals_one_without_a_stop(
    llama, differences, samples, stop_after, scoring
):
    import numpy as np

    import sadi_lens as sl

    samples = [dataclasses.replace(one, prompt=f"the box is big\n{one.prompt}") for one in samples]
    several = [None, sl.MaskedScaling(sl.top_k_mask(differences["head"], 3), 2.0)]
    settings = {"scoring": scoring, "progress": False}
    whole = sl.evaluate(llama, samples, several, **settings)
    stop_after(2)
    with pytest.raises(sl.measure.EvaluationInterrupted) as caught:
        sl.evaluate(llama, samples, several, **settings)
    ran = stop_after(None)
    again = sl.evaluate(llama, samples, several, resume=caught.value, **settings)
    if scoring != "pmi":  # half of a difference is no score
        assert len(ran) == len(samples) - 2
    for one, two in zip(whole, again, strict=True):
        np.testing.assert_allclose(one.choice_scores, two.choice_scores, atol=1e-5)
        np.testing.assert_array_equal(one.correct, two.correct)
        assert (one.items, one.interval, one.label) == (two.items, two.interval, two.label)


def test_free_text_is_generated_for_several_interventions_in_one_batch_and_resumed(
    llama, differences, monkeypatch
):
    import sadi_lens as sl
    from sadi_lens.measure import writing

    samples = [sl.Sample(prompt, target="red") for prompt in ("the ball is", "a", "the hat")]
    mask = sl.top_k_mask(differences["head"], 3)
    several = [None, *(sl.MaskedScaling(mask, strength) for strength in (2.0, 5.0, 9.0))]
    alone = [sl.evaluate(llama, samples, one, progress=False) for one in several]
    monkeypatch.setattr(writing, "FEWEST", 9)
    real, batches = writing.continued, []

    def continued(runner, prompts, *args, **more):
        if len(batches) == stop:
            raise KeyboardInterrupt
        batches.append(len(prompts))
        return real(runner, prompts, *args, **more)

    monkeypatch.setattr(writing, "continued", continued)
    stop = None
    assert sl.evaluate(llama, samples, several, progress=False) == alone
    assert batches == [12]
    monkeypatch.setattr(writing, "TEXTS_AT_ONCE", 6)
    batches.clear()
    stop = 1
    with pytest.raises(sl.measure.EvaluationInterrupted) as caught:
        sl.evaluate(llama, samples, several, progress=False)
    assert caught.value.partial == tuple(alone[:2])
    batches.clear()
    found = sl.evaluate(llama, samples, several, resume=caught.value, progress=False)
    assert found == alone
    assert batches == [6]


def test_texts_of_many_interventions_are_written_with_each_prompt_read_once_and_resumed(
    llama, differences, monkeypatch
):
    """The same as one intervention after the other; Ctrl-C keeps the items that were finished."""
    import sadi_lens as sl
    from sadi_lens.measure import writing

    samples = [
        sl.Sample(prompt, (" red", " blue"), 0, cluster=prompt[:3])
        for prompt in ("the ball is", "a", "the hat", "Tom says the hat is")
    ]
    mask = sl.top_k_mask(differences["head"], 3)
    several = [None, *(sl.MaskedScaling(mask, strength) for strength in (0.5, 1, 2, 5, 9))]
    options = {"scoring": "generation", "max_new_tokens": 3, "progress": False}
    alone = [sl.evaluate(llama, samples, one, **options) for one in several]
    real, asked = writing.continued, []

    def continued(runner, prompts, *args, **more):
        if len(asked) == stop:
            raise KeyboardInterrupt
        asked.append(prompts[0])
        return real(runner, prompts, *args, **more)

    monkeypatch.setattr(writing, "continued", continued)
    stop = None
    assert sl.evaluate(llama, samples, several, **options) == alone
    assert asked == [samples[0].prompt]
    monkeypatch.setattr(writing, "TEXTS_AT_ONCE", 7)  # one item in a call
    asked.clear()
    assert sl.evaluate(llama, samples, several, **options) == alone
    assert asked == [one.prompt for one in samples]
    clamped = sl.interventions.Clamped(sl.MaskedScaling(mask, 2.0))
    for position in ("last_prompt", "every_step", "all"):
        mixed = [*several[:3], clamped, *several[3:]]
        found = sl.evaluate(llama, samples, mixed, position=position, **options)
        each = [sl.evaluate(llama, samples, one, position=position, **options) for one in mixed]
        assert found == each
    asked.clear()
    stop = 2
    with pytest.raises(sl.measure.EvaluationInterrupted) as caught:
        sl.evaluate(llama, samples, several, **options)
    assert caught.value.done.tolist() == [True, True, False, False]
    assert [one.texts for one in caught.value.partial] == [one.texts[:2] for one in alone]
    asked.clear()
    stop = 1
    with pytest.raises(sl.measure.EvaluationInterrupted) as again:
        sl.evaluate(llama, samples, several, resume=caught.value, **options)
    asked.clear()
    stop = None
    assert sl.evaluate(llama, samples, several, resume=again.value, **options) == alone
    assert asked == [samples[3].prompt]


def test_best_takes_the_top_cell_and_says_on_what(llama, differences, samples):
    import numpy as np

    import sadi_lens as sl

    grid = sl.sweep(llama, samples, differences["head"], [1, 3], [1.0, 4.0], progress=False)
    grid = dataclasses.replace(
        grid,
        accuracy=np.array([[0.5, 0.75], [0.75, np.nan]]),
        margin=np.array([[9.0, 1.0], [2.0, np.nan]]),
    )
    best = grid.best()
    assert (best.k, best.strength, best.accuracy, best.chosen_on) == (3, 1.0, 0.75, "dev")
    assert "highest accuracy of 3 cells on dev" in best.reason
    with pytest.warns(UserWarning, match="chose K and strength on the test split"):
        on_test = dataclasses.replace(grid, split="test").best()
    assert on_test.chosen_on == "test"
    assert "optimistic" in on_test.reason
    tied = dataclasses.replace(grid, ks=(4, 1), accuracy=np.ones((2, 2)), margin=np.ones((2, 2)))
    assert (tied.best().k, tied.best().strength) == (1, 1.0)
    with pytest.raises(ValueError, match="no cell of this sweep was finished"):
        dataclasses.replace(grid, accuracy=np.full((2, 2), np.nan)).best()


def test_the_null_band_is_one_evaluation_per_random_mask(llama, differences, samples):
    import numpy as np

    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 3)
    null = sl.measure.null_band(llama, samples, mask, 4.0, n=6, seed=1, progress=False)
    seeds = np.random.SeedSequence(1).generate_state(6)
    for draw, seed in enumerate(seeds):
        one = sl.MaskedScaling(sl.random_mask(mask, seed=int(seed)), 4.0)
        found = sl.evaluate(llama, samples, one, progress=False)
        assert null.accuracies[draw] == found.accuracy
        assert null.margins[draw] == pytest.approx(found.margin, abs=5e-5)
    assert null.p_value(np.nextafter(null.accuracies.max(), 2)) == 1 / 7
    assert null.p_value(0.0) == 1.0
    again = sl.measure.null_band(llama, samples, mask, 4.0, n=6, seed=1, progress=False)
    assert again == null


def test_a_null_that_chooses_goes_through_the_cells_of_the_method(llama, differences, samples):
    import numpy as np

    import sadi_lens as sl
    from sadi_lens.measure.nulls import random_cells
    from sadi_lens.measure.sweeps import best_of

    masks = [sl.top_k_mask(differences["head"], k) for k in (1, 3)]
    cells = [(mask, strength) for mask in masks for strength in (0.5, 4.0, 9.0)]
    options = {"n": 5, "seed": 1, "tune_on": samples[2:], "progress": False}
    null = sl.measure.null_band(llama, samples[:2], masks[1], 4.0, cells=cells, **options)
    assert (null.n_cells, null.k) == (6, 3)
    best = np.nextafter(null.accuracies.max(), 2)
    assert null.p_interval(best)[0] < null.p_value(best) == 1 / 6 < null.p_interval(best)[1]
    base = sl.evaluate(llama, samples[2:], progress=False)
    for draw, seed in enumerate(np.random.SeedSequence(1).generate_state(5)):
        grid = [sl.MaskedScaling(*cell) for cell in random_cells(cells, seed=int(seed))]
        place = best_of(sl.evaluate(llama, samples[2:], grid, progress=False), base)
        steered = None if place < 0 else grid[place]
        found = sl.evaluate(llama, samples[:2], steered, progress=False)
        assert null.accuracies[draw] == found.accuracy
        assert null.margins[draw] == pytest.approx(found.margin, abs=5e-5)
    by_strength = sl.measure.null_band(llama, samples[:2], masks[1], 4.0, **options)
    assert "strengths (conditional on this K)" in by_strength.label
    with pytest.raises(ValueError, match="cells are what each mask chooses from"):
        sl.measure.null_band(llama, samples, masks[0], 4.0, cells=cells, n=2, progress=False)


def test_a_comparison_pairs_items_with_the_first_row(llama, differences, samples):
    import sadi_lens as sl
    from sadi_lens.types.paired import mcnemar_p, paired_interval

    cells = [None, sl.MaskedScaling(sl.top_k_mask(differences["head"], 4), 8.0)]
    found = sl.evaluate(llama, samples, cells, progress=False)
    table = sl.types.Comparison.of(found, chance=0.5)
    assert table.rows[0].gain == 0
    assert table.rows[1].gain == found[1].accuracy - found[0].accuracy
    assert table.rows[1].gain_interval == paired_interval(found[1].correct, found[0].correct)
    assert table.rows[1].mcnemar_p == mcnemar_p(found[1].correct, found[0].correct)
    with pytest.raises(ValueError, match="different labels, got 'unsteered' twice"):
        sl.types.Comparison.of((found[0], found[0]))
    turned = sl.evaluate(llama, samples[::-1], label="turned", progress=False)
    with pytest.raises(ValueError, match="needs the same items: 'turned' has 4"):
        sl.types.Comparison.of((found[0], turned))
    fewer = sl.evaluate(llama, samples[:2], progress=False)
    with pytest.raises(ValueError, match="needs the same items: 'unsteered' has 2"):
        sl.types.Comparison.of((found[0], fewer))


def test_items_that_were_asked_in_another_form_are_other_items(
    llama, samples, monkeypatch, tmp_path
):
    """The same texts give other numbers as a chat (no BOS), without BOS, and through another tokenizer."""
    from tokenizers import normalizers

    import sadi_lens as sl
    from sadi_lens.types.chat_prompt import ChatPrompt
    from sadi_lens.types.results.written import Written

    def evaluate(label, items=samples, **options):
        return sl.evaluate(llama, items, label=label, progress=False, **options)

    base, again = evaluate("unsteered"), evaluate("again")
    assert sl.types.Comparison.of((base, again)).rows[1].gain == 0
    chats = [dataclasses.replace(one, prompt=ChatPrompt(one.prompt)) for one in samples]
    others = {
        "chat": evaluate("chat", chats),
        "no BOS": evaluate("no BOS", prepend_bos=False),
    }
    for one in others.values():
        assert one.margins == pytest.approx(others["chat"].margins, abs=1e-5)
        assert one.margins != pytest.approx(base.margins, abs=1e-2)
    backend = llama.tokenizer.backend_tokenizer
    was, backend.normalizer = backend.normalizer, normalizers.Lowercase()
    try:
        others["tokenizer"] = evaluate("tokenizer")
    finally:
        backend.normalizer = was
    # What becomes the same tokens is of the same form.
    starts = llama.tokenizer("a")["input_ids"][0] == llama.tokenizer.bos_token_id
    alike = evaluate("said", prepend_bos=starts)
    assert alike.margins.tolist() == base.margins.tolist()
    with monkeypatch.context() as patch:
        patch.setattr(llama.tokenizer, "chat_template", "{{ messages[0].content }}")
        rows = sl.types.Comparison.of((base, alike, evaluate("template"))).rows
    assert [one.gain for one in rows] == [0, 0, 0]
    said = evaluate("chat, said", chats, prepend_bos=False)
    assert sl.types.Comparison.of((others["chat"], said)).rows[1].gain == 0
    written = sl.evaluate(llama, samples, scoring="generation", progress=False)
    for label, one in others.items():
        kept = sl.load(sl.save(one, tmp_path / label), model=llama)
        with pytest.raises(ValueError, match=f"needs the same items: '{label}' has .*chat prompts"):
            sl.types.Comparison.of((base, kept))
        with pytest.raises(ValueError, match=r"needs two results of the same items.*tokenizer"):
            sl.types.what_changed(one, base)
        with pytest.raises(ValueError, match=r"on different items.*prepend_bos"):
            Written.of(written, base, one)
        with pytest.raises(ValueError, match=r"needs the same items on the same model.*template"):
            sl.plots.example_effects(base, one, one)
    # Where it was not kept (another tool's results), the items alone decide.
    bare = dataclasses.replace(others["no BOS"], form="", label="bare")
    assert sl.types.Comparison.of((base, bare)).rows[1].label == "bare"


def test_frames_are_tidy(llama, differences, samples):
    import sadi_lens as sl

    assert len(differences["head"].frame()) == 12
    grid = sl.sweep(llama, samples, differences["head"], [1, 3], [1.0, 4.0], progress=False)
    frame = grid.frame()
    assert frame[["k", "strength"]].values.tolist() == [[1, 1], [1, 4], [3, 1], [3, 4]]
    found = sl.evaluate(llama, samples, progress=False)
    assert len(found.frame()) == len(samples)
    assert sl.types.Comparison.of((found,)).frame()["label"].tolist() == ["unsteered"]


def test_standard_errors_are_by_cluster(llama, differences, samples):
    """Every item ten times: as many independent items as before, so the error of a few, not of many."""
    from dataclasses import replace

    import sadi_lens as sl

    few = [replace(one, cluster=str(at)) for at, one in enumerate(samples)]
    few[0] = replace(few[0], answer=1 - few[0].answer)  # one of four is right
    many = few * 10
    plain = [replace(one, cluster=str(at)) for at, one in enumerate(many)]
    steering = sl.MaskedScaling(sl.top_k_mask(differences["head"], 4), 8.0)
    shared, alone = (sl.evaluate(llama, given, steering, progress=False) for given in (many, plain))
    assert 0 < shared.accuracy < 1
    assert alone.standard_error == pytest.approx(
        (alone.accuracy * (1 - alone.accuracy) / alone.n) ** 0.5
    )
    assert shared.standard_error > 3 * alone.standard_error
    table = sl.types.Comparison.of([shared])
    assert table.frame()["standard_error"].tolist() == [shared.standard_error]
    grid = sl.sweep(llama, many, differences["head"], [1, 4], [8.0, 1.0], progress=False)
    assert grid.standard_errors[1, 1] == shared.standard_error
    assert (grid.clusters == shared.clusters).all()
    assert grid.n_independent == len(samples)
    by_item = sl.sweep(llama, plain, differences["head"], [1], [8.0], progress=False)
    assert by_item.clusters is by_item.standard_errors is None


def test_weights_that_are_others_are_said(llama, samples, differences):
    import sadi_lens as sl

    info = dataclasses.replace(differences["head"].model, name="cousin", fingerprint="f" * 16)
    mask = sl.Mask.from_units("head", [(1, 2)], info)
    with pytest.warns(UserWarning, match="the mask was made on cousin with weights ffff"):
        sl.evaluate(llama, samples, sl.MaskedScaling(mask, 1.0), progress=False)


def test_the_measured_push_is_edited_minus_unedited_in_the_steered_run(llama, differences):
    """By hand: run each prompt alone under steering and read the activation before and after the edit."""
    import numpy as np
    import torch

    import sadi_lens as sl

    prompts = ["the ball is", "Tom says the hat is in the", "a"]
    mask = sl.Mask.from_units("head", [(0, 1), (1, 2), (2, 0)], llama)
    sadi = sl.MaskedScaling(mask, 4.0)
    pushes = []
    for prompt in prompts:
        ids = torch.tensor([llama.tokenizer(prompt)["input_ids"]])
        with torch.inference_mode(), sl.steer(llama, sadi):
            steered = sl.engine.read_activations(llama, ids, components=["head"])["head"]
        after = torch.stack(steered)[:, 0, -1]  # hooks run in order, so this is 5 A where selected
        chosen = torch.from_numpy(mask.selected.copy())[..., None]
        pushes.append(torch.where(chosen, after * 4 / 5, 0))
    stacked = torch.stack(pushes)
    for max_tokens in (4096, 1):
        found = sl.measure.measure_push(llama, prompts, sadi, max_tokens=max_tokens, progress=False)
        np.testing.assert_allclose(found.mean, stacked.mean(dim=0), atol=1e-5)
        expected = stacked.square().sum(dim=(1, 2, 3)).mean().sqrt()
        assert found.rms == pytest.approx(float(expected), rel=1e-5)
    # What several layers push together is not strength times the clean activation.
    clean = np.sqrt((differences["head"].prompt_rms[mask.selected] ** 2).sum())
    assert abs(found.rms / (4 * clean) - 1) > 0.05
    own = differences["head"]
    norm = sl.MaskedAddition.from_differences(mask, own, 4.0, match="norm", push=found)
    assert sl.measure.measure_push(llama, prompts, norm, progress=False).rms == pytest.approx(
        found.rms
    )
    mean = sl.MaskedAddition.from_differences(mask, own, 4.0, match="mean", push=found)
    again = sl.measure.measure_push(llama, prompts, mean, progress=False)
    np.testing.assert_allclose(again.mean, found.mean, atol=1e-5)


def test_within_one_layer_the_clean_activation_gives_the_same_push(llama, pairs, differences):
    import numpy as np

    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(1, 0), (1, 2)], llama)
    sadi = sl.MaskedScaling(mask, 4.0)
    push = sl.measure.measure_push(llama, [pair.prompt for pair in pairs], sadi, progress=False)
    for match in ("norm", "mean"):
        clean = sl.MaskedAddition.from_differences(mask, differences["head"], 4.0, match=match)
        measured = sl.MaskedAddition.from_differences(
            mask, differences["head"], 4.0, match=match, push=push
        )
        chosen = mask.selected
        np.testing.assert_allclose(
            clean.vector[chosen], measured.vector[chosen], rtol=1e-5, atol=1e-6
        )
    with pytest.raises(ValueError, match="prompts must hold at least 1, got 0"):
        sl.measure.measure_push(llama, [], sadi)


def test_the_default_grid_reaches_to_the_last_unit(info):
    import numpy as np

    from sadi_lens.measure.sweeps import ks_of
    from sadi_lens.types.scores import Scores

    assert ks_of(Scores("head", "own", np.zeros((2, 5)), info, 1)) == [1, 2, 4, 6, 8, 10]
    assert ks_of(Scores("head", "own", np.zeros((3, 3)), info, 1)) == [1, 2, 4, 6, 8]


def test_a_grid_of_any_candidates_is_swept_and_one_with_a_gap_is_refused(
    llama, samples, differences
):
    import sadi_lens as sl
    from sadi_lens.measure import Candidate, Grid

    vectors = [
        Candidate(sl.VectorAddition.from_differences(differences["hidden"], layer, s), layer, s)
        for layer in (0, 2)
        for s in (1.0, 4.0)
    ]
    grid = Grid.of(vectors, method="caa", axis="layer", task="words")
    found = sl.sweep(llama, samples, grid, position="every_step", progress=False)
    assert (found.ks, found.axis, found.ranking, found.task) == ((0, 2), "layer", "", "words")
    own = sl.evaluate(
        llama, samples, vectors[3].intervention, position="every_step", progress=False
    )
    assert found.accuracy[1, 1] == own.accuracy
    assert found.margin[1, 1] == pytest.approx(own.margin, abs=1e-5)
    assert found.best().settings.startswith("layer ")
    with pytest.raises(ValueError, match=r"3 cells of layer \[0, 2\] x strength \[1.0, 4.0\]"):
        Grid.of(vectors[:3], axis="layer")
    with pytest.raises(ValueError, match="ks must differ, 2 stands twice"):
        sl.sweep(llama, samples, differences["head"], [2, 2], [1.0], progress=False)


def test_one_text_and_one_random_mask_are_enough(llama, samples, differences):
    import sadi_lens as sl

    sample = sl.Sample("the ball is", target="red")
    assert sl.evaluate(llama, [sample], max_new_tokens=2, progress=False).n == 1
    mask = sl.top_k_mask(differences["head"], 2)
    assert sl.measure.null_band(llama, samples, mask, 1.0, n=1, progress=False).n == 1
    with pytest.raises(ValueError, match="strength must be finite, got nan"):
        sl.measure.null_band(llama, samples, mask, float("nan"), tune_on=samples, progress=False)
    with pytest.raises(TypeError, match=r"max_new_tokens must be a whole number, got 1\.5"):
        sl.evaluate(llama, [sample], max_new_tokens=1.5)


@pytest.mark.parametrize("scoring", ["generation", "teacher_forced"])
@pytest.mark.parametrize("wrong", [" Bread.", " the bread", " bread\u200b", " \uff42read"])
def test_a_wrong_choice_that_reads_as_the_right_one_is_refused_where_texts_are_compared(
    embedded, scoring, wrong
):
    import sadi_lens as sl

    task = sl.load_task("hints")
    prompt = task.test[0].prompt
    for answer in (0, 1):
        sample = sl.Sample(prompt, (" bread", wrong), answer)
        with pytest.raises(
            ValueError, match=rf"samples\[1\] are the same answer .*scoring={scoring!r}"
        ):
            sl.evaluate(embedded["model"], [task.test[0], sample], scoring=scoring, progress=False)
    also = sl.Sample(prompt, (" bread", wrong, " meat"), 0, also_right=(1,))
    if scoring == "generation":
        assert sl.evaluate(embedded["model"], [also], scoring=scoring, progress=False).n == 1
