"""Rivals as their papers define them: what their vectors and conditions are read from, and where they act."""

import numpy as np
import pytest

HARMFUL, HARMLESS = ["the ball is", "Ann was"], ["Tom says the hat", "the box", "the big red hat"]


def means(model, layers):
    """Mean residual stream at the last token of either list, from the blocks of Hugging Face's model."""
    return [
        np.mean([blocks(model, one)[layers] for one in each], axis=0)
        for each in (HARMFUL, HARMLESS)
    ]


def blocks(model, prompt):
    import torch

    kept = []
    hooks = [
        block.register_forward_hook(lambda _m, _a, out: kept.append(out[0, -1]))
        for block in model.raw_model.model.layers
    ]
    with torch.no_grad():
        model.raw_model(torch.tensor([model.tokenizer(prompt)["input_ids"]]))
    for one in hooks:
        one.remove()
    return torch.stack(kept).double().numpy()


def test_infer_aligner_reads_prompts_and_pushes_along_the_second_model(llama):
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.interventions import InferAlignerGate

    hf, tokenizer = random_llama(seed=5)
    aligned = sl.load_model(hf, tokenizer=tokenizer)
    gate = InferAlignerGate.from_prompts(llama, HARMFUL, HARMLESS, [1, 2], aligned=aligned)
    own, theirs = means(llama, [1, 2]), means(aligned, [1, 2])
    assert gate.push == pytest.approx(theirs[0] - theirs[1], abs=1e-4)
    difference = own[0] - own[1]
    direction = difference / np.linalg.norm(difference, axis=1, keepdims=True)
    assert gate.gate == pytest.approx(direction, abs=1e-4)
    # Half way between the means the gate is exactly on its threshold.
    middle = (own[0] + own[1]) / 2
    assert (gate.gate * middle).sum(axis=1) + gate.bias == pytest.approx(0, abs=1e-4)
    alone = InferAlignerGate.from_prompts(llama, HARMFUL, HARMLESS, [1])
    assert alone.push[0] == pytest.approx(difference[0], abs=1e-4)
    with pytest.raises(ValueError, match="at least 1 prompt each, got 0 and 3"):
        InferAlignerGate.from_prompts(llama, [], HARMLESS, [1])


def test_casts_condition_is_learned_from_prompts_that_the_model_answers_wrong():
    import sadi_lens as sl
    from sadi_lens.measure.methods import Material
    from sadi_lens.measure.methods.rivals import _answered
    from sadi_lens.models._planted_task import planted_logit_difference as on_paper

    model, task = sl.models.planted_model(), sl.models.planted_task()
    wrong, right = _answered(Material(model, task.pairs))
    expected = [
        p.prompt
        for p in task.pairs
        if not on_paper(p.prompt) * (1 if p.positive == " yes" else -1) > 0
    ]
    assert wrong == expected
    assert len(wrong) + len(right) == len(task.pairs)
    assert 0 < len(wrong) < len(task.pairs)


def test_cast_is_left_out_where_nothing_is_answered_wrong():
    import sadi_lens as sl
    from sadi_lens.measure.methods import Material, UnavailableError
    from sadi_lens.measure.methods.rivals import cast

    model, task = sl.models.planted_model(), sl.models.planted_task(pulls=False)
    with pytest.raises(UnavailableError, match="answers wrong and right, and there are 0 and"):
        cast(Material(model, task.pairs), 4)


def test_spherical_steering_chooses_its_beta(llama, pairs):
    from sadi_lens.measure.methods import Material
    from sadi_lens.measure.methods.rivals import BETAS, spherical

    offered = spherical(Material(llama, tuple(pairs)), None)
    assert {one.intervention.threshold for one in offered} == set(BETAS)
    assert len({one.intervention.label for one in offered}) == len(offered) == 3 * 3 * 9


def test_an_experiment_runs_each_method_where_its_definition_acts():
    import sadi_lens as sl
    from sadi_lens.apps.experiments.cells import cells_of

    def positions(**more):
        one = sl.apps.Experiment(name="x", tasks=["hints"], methods=["sadi", "caa", "hpr"], **more)
        return {cell.method: cell.position for cell in cells_of(one) if cell.position}

    assert positions() == {"sadi": "last_prompt", "caa": "every_step", "hpr": "all"}
    assert set(positions(positions=["all"]).values()) == {"all"}


@pytest.mark.parametrize(
    ("strength", "note"),
    [
        (8.0, "largest strength of its grid, 8"),
        (1.0, "smallest strength of its grid, 1"),
        (2.0, ""),
    ],
)
def test_a_strength_on_the_edge_of_its_grid_is_said(llama, differences, samples, strength, note):
    import sadi_lens as sl
    from sadi_lens.measure.choosing import Chosen, _edges
    from sadi_lens.measure.methods import METHODS

    swept = sl.sweep(llama, samples, differences["head"], [1], [1.0, 2.0, 8.0], progress=False)
    taken = sl.measure.Candidate(None, 1, strength)
    notes = _edges(Chosen(METHODS["sadi-head"], taken, "last_prompt", 0.5, 3, swept))
    assert notes == ([f"sadi-head chose the {note}: the best may lie beyond"] if note else [])
