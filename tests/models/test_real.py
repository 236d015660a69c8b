"""SmolLM2-135M: the task ``suggest`` is what it says it is, and effects are those of plain autograd."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def loaded(name):
    """A known model, from the user's cache; skipped with the line that installs its weights."""
    import sadi_lens as sl

    try:
        sl.models.KNOWN[name].find()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SADI_LENS_CACHE", raising=False)
        return sl.load_model(name)


@pytest.fixture(scope="module")
def smollm2():
    return loaded("smollm2")


@pytest.mark.parametrize(
    ("name", "shape", "prompt", "continued"),
    [
        ("smollm2", (30, 9, 576, 1536), "The capital of France is", " Paris"),
        ("gemma3-270m", (18, 4, 640, 2048), "Paris is the capital of", " France"),
    ],
)
def test_the_known_models_load_and_know_the_capital_of_france(
    name, shape, prompt, continued, request
):
    import sadi_lens as sl

    model = request.getfixturevalue(name) if name == "smollm2" else loaded(name)
    info, record = sl.types.ModelInfo.of(model), sl.models.load_record(model)
    assert (info.name, record.licence) == (name, sl.models.KNOWN[name].licence)
    assert (info.n_layers, info.n_heads, info.d_model, info.d_mlp) == shape
    assert record.check.relative < 1e-4
    (text,) = sl.generate(model, prompt, max_new_tokens=1)
    assert text == continued


def test_it_knows_the_facts_answers_with_a_choice_and_yields_to_a_wrong_suggestion(smollm2):
    import sadi_lens as sl

    facts, samples = sl.tasks.suggest_unaided()
    few = slice(0, None, 3)
    found = sl.evaluate(smollm2, samples[few], progress=False)
    families = [one.split("/")[0] for one in facts[few]]
    by_family = {
        name: np.mean(
            [right for one, right in zip(families, found.correct, strict=True) if one == name]
        )
        for name in set(families)
    }
    assert min(by_family.values()) > 0.9, by_family
    assert found.valid_rate >= 0.75
    misled = sl.evaluate(
        smollm2,
        [
            sl.Sample(one.prompt, (one.positive, one.negative), 0)
            for one in sl.load_task("suggest").pairs[::3]
        ],
        progress=False,
    )
    assert misled.accuracy < found.accuracy - 0.3


def test_effects_of_heads_are_those_of_plain_autograd_on_the_hugging_face_model(smollm2):
    import torch

    import sadi_lens as sl

    pairs, raw, heads = sl.load_task("suggest").pairs[:2], smollm2.raw_model, 9
    tokenizer, wanted = smollm2.tokenizer, []
    for pair in pairs:
        scale = torch.zeros(30, heads, requires_grad=True)
        end = len(tokenizer(pair.prompt)["input_ids"]) - 1

        def hook(layer, scale=scale, end=end):
            def scaled(_module, args):
                parts = args[0].unflatten(-1, (heads, -1))
                factor = torch.ones_like(parts[..., 0])
                factor[:, end] = 1 + scale[layer]
                return ((parts * factor[..., None]).flatten(-2),)

            return raw.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(scaled)

        hooks = [hook(layer) for layer in range(30)]
        scores = []
        for answer in (pair.positive, pair.negative):
            ids = torch.tensor([tokenizer(pair.prompt + answer)["input_ids"]])
            logs = raw(ids).logits[0, end:-1].log_softmax(dim=-1)
            scores.append(logs.gather(1, ids[0, end + 1 :, None]).sum())
        for one in hooks:
            one.remove()
        wanted.append(torch.autograd.grad(scores[0] - scores[1], scale)[0].numpy())
    found = sl.unit_scores(smollm2, pairs, "head", "effect", progress=False).values
    np.testing.assert_allclose(found, np.mean(wanted, axis=0), rtol=1e-4, atol=1e-5)
