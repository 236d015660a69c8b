"""Stability, pruning, receipts and checks on models small enough to know."""

import dataclasses

import numpy as np
import pytest


@pytest.fixture(scope="module")
def planted():
    import sadi_lens as sl

    return sl.models.planted_model(), sl.models.planted_task()


def planted_mask(model, component, strays=5):
    """The planted unit, the decoy and units that do nothing."""
    import sadi_lens as sl
    from sadi_lens.models.planted import DECOY, PLANTED

    extra = {"head": range(strays), "neuron": range(strays)}.get(component, range(9, 9 + strays))
    units = [PLANTED[component], DECOY[component], *((2, unit) for unit in extra)]
    return sl.Mask.from_units(component, units, model)


COMPONENTS = ["head", "neuron", "mlp_out", "hidden"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_pruning_leaves_exactly_the_planted_unit(planted, component):
    """By equation (1) of the planted model the margin grows by strength x |e| = 2 x 1.5, all of it in one unit."""
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED

    model, task = planted
    mask = planted_mask(model, component)
    effects = sl.measure.unit_effects(model, task.dev, mask, 2.0, progress=False)
    frame = effects.frame()
    assert (frame.layer[0], frame["index"][0]) == PLANTED[component]
    assert frame.effect[0] == pytest.approx(3.0)
    assert np.abs(frame.effect[1:]).max() < 1e-6
    assert frame.helped[0] == 1
    assert effects.split == "dev"
    found = sl.measure.prune_mask(model, task.dev, mask, 2.0, progress=False)
    assert found.mask.units == (PLANTED[component],)
    assert found.full == mask
    assert found.share == pytest.approx(1.0)
    assert found.full_margin - found.unsteered_margin == pytest.approx(3.0)
    assert [one.k for one in found.steps] == [6, 5, 4, 3, 2, 1]
    # Unsteered and whole, then at most 8 candidates a step: 7, 6, 5, 4, 3, 2 units, all below 8.
    assert found.runs == 2 + 7 + 6 + 5 + 4 + 3 + 2
    assert len(found.frame()) == 6
    again = sl.evaluate(model, task.dev, sl.MaskedScaling(found.mask, 2.0), progress=False)
    assert again.margin == pytest.approx(found.steps[-1].margin)


def test_one_candidate_a_step_is_enough_where_slopes_tell(planted):
    """Only the unit with the smallest slope is tried: the planted one comes last."""
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED

    model, task = planted
    mask = planted_mask(model, "neuron", strays=2)
    found = sl.measure.prune_mask(model, task.dev[:16], mask, 2.0, n_candidates=1, progress=False)
    assert found.mask.units == (PLANTED["neuron"],)
    assert found.runs == 2 + 3


def test_effects_add_up_to_the_real_effect_when_small(llama, samples):
    """First order: with a small strength the units' effects sum to what the whole mask really does."""
    import sadi_lens as sl

    mask = sl.Mask.from_units("neuron", [(0, 3), (1, 20), (1, 40), (2, 7)], llama)
    effects = sl.measure.unit_effects(llama, samples, mask, 0.02, at=0.5, progress=False)
    base, steered = sl.evaluate(
        llama, samples, [None, sl.MaskedScaling(mask, 0.02)], progress=False
    )
    np.testing.assert_allclose(
        effects.effects.sum(axis=1), steered.margins - base.margins, rtol=0.02, atol=2e-5
    )
    assert effects.effects.shape == (4, 4)


def test_the_error_of_an_effect_is_by_cluster(llama, samples):
    """Ten copies of each of four samples are worth four: the error is that of the four means, sd / sqrt(4)."""
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(0, 3), (1, 2)], llama)
    copies = [
        dataclasses.replace(one, cluster=str(row))
        for row, one in enumerate(samples)
        for _ in range(10)
    ]
    found = sl.measure.unit_effects(llama, copies, mask, 1.0, progress=False)
    assert found.clusters.tolist() == [row for row in range(4) for _ in range(10)]
    again = [*samples, *samples]
    alike = sl.measure.unit_effects(llama, again, mask, 1.0, progress=False)
    assert alike.clusters.tolist() == [0, 1, 2, 3] * 2
    own = sl.measure.unit_effects(llama, samples, mask, 1.0, progress=False)
    wanted = own.frame().standard_error
    np.testing.assert_allclose(
        wanted, own.effects.std(axis=0, ddof=1)[own.mean.argsort()[::-1]] / 2
    )
    # Standard deviations of 40 and of 4 values with n - 1: sqrt(39 / 40) and sqrt(3 / 4) of one another.
    np.testing.assert_allclose(
        found.frame().standard_error, wanted * (40 / 39 * 3 / 4) ** 0.5, rtol=1e-4
    )


@pytest.mark.parametrize(("keep", "n_candidates"), [(0.9, 8), (0.5, 1)])
def test_pruned_masks_keep_what_they_promise(llama, samples, keep, n_candidates):
    import sadi_lens as sl

    mask = sl.random_mask(sl.Mask.from_units("neuron", [(0, 0)], llama), 12, seed=7)
    found = sl.measure.prune_mask(
        llama, samples, mask, 1.0, keep=keep, n_candidates=n_candidates, progress=False
    )
    base, small = sl.evaluate(
        llama, samples, [None, sl.MaskedScaling(found.mask, 1.0)], progress=False
    )
    share = (small.margin - base.margin) / (found.full_margin - base.margin)
    assert share >= keep
    assert share == pytest.approx(found.share, abs=1e-4)
    assert set(found.mask.units) < set(mask.units)
    removed = {(one.layer, one.unit) for one in found.steps}
    assert removed == set(mask.units) - set(found.mask.units)
    # Greedy and confirmed: no single unit of those tried could go as well.
    if n_candidates >= found.mask.k:
        for unit in found.mask.units:
            rest = [one for one in found.mask.units if one != unit]
            less = sl.MaskedScaling(sl.Mask.from_units("neuron", rest, llama), 1.0)
            margin = sl.evaluate(llama, samples, less, progress=False).margin
            assert (margin - base.margin) / (found.full_margin - base.margin) < keep


def test_pruning_refuses_what_it_cannot_do(llama, samples):
    import sadi_lens as sl

    some = sl.Mask.from_units("head", [(0, 0), (1, 1)], llama)
    none = sl.Mask("head", np.zeros((3, 4), dtype=bool), model=some.model)
    for function in (sl.measure.unit_effects, sl.measure.prune_mask):
        with pytest.raises(ValueError, match="mask must select at least 1 unit, got 0"):
            function(llama, samples, none, 1.0, progress=False)
        with pytest.raises(ValueError, match="strength must be finite"):
            function(llama, samples, some, float("nan"), progress=False)
    with pytest.raises(ValueError, match=r"keep must be in \(0, 1\], got 1.2"):
        sl.measure.prune_mask(llama, samples, some, 1.0, keep=1.2, progress=False)
    with pytest.raises(ValueError, match="n_candidates must be at least 1, got 0"):
        sl.measure.prune_mask(llama, samples, some, 1.0, n_candidates=0, progress=False)
    with pytest.raises(ValueError, match="there is no effect to keep"):
        sl.measure.prune_mask(llama, samples, some, 0.0, progress=False)
    with pytest.raises(ValueError, match=r"at must be in \[0, 1\]"):
        sl.measure.unit_effects(llama, samples, some, 1.0, at=2.0, progress=False)
    with pytest.raises(ValueError, match="free text has no margin"):
        sl.measure.unit_effects(llama, [sl.Sample("Ann", target="good")], some, 1.0, progress=False)


def many_pairs(n=24):
    from factories import WORDS

    import sadi_lens as sl

    rng = np.random.default_rng(0)
    pairs = []
    while len(pairs) < n:
        words = rng.choice(WORDS[:15], size=6)
        if words[4] != words[5]:
            prompt = " ".join(words[:4])
            pairs.append(sl.ContrastivePair(prompt, f" {words[4]}", f" {words[5]}"))
    return pairs


@pytest.mark.parametrize("ranking", ["signed", "standardised", "l2", "effect", "gradient"])
def test_stability_against_masks_really_made_again(llama, ranking):
    """Each draw is repeated with a new extraction of the drawn pairs."""
    import sadi_lens as sl

    pairs, k, n_boot, seed = many_pairs(), 3, 4, 11
    found = sl.measure.mask_stability(
        llama, pairs, "head", k, ranking=ranking, n_boot=n_boot, seed=seed, progress=False
    )
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(24, np.full(24, 1 / 24), size=n_boot)
    frequency = np.zeros((3, 4))
    full = set(found.mask.units)
    again = sl.unit_scores(llama, pairs, "head", ranking, progress=False)
    assert sl.top_k_mask(again, k).units == found.mask.units
    for draw in range(n_boot):
        drawn = [
            pair for pair, count in zip(pairs, counts[draw], strict=True) for _ in range(count)
        ]
        scores = sl.unit_scores(llama, drawn, "head", ranking, progress=False)
        mask = sl.top_k_mask(scores, k)
        frequency += mask.selected / n_boot
        assert found.bootstrap[draw] == len(full & set(mask.units)) / len(full | set(mask.units))
        order = generator.permutation(24)
        halves = []
        for half in (order[:12], order[12:]):
            scores = sl.unit_scores(
                llama, [pairs[index] for index in half], "head", ranking, progress=False
            )
            halves.append(set(sl.top_k_mask(scores, k).units))
        assert found.split_half[draw] == len(halves[0] & halves[1]) / len(halves[0] | halves[1])
    np.testing.assert_allclose(found.frequency, frequency)
    assert found.frequency.sum() == pytest.approx(k)
    assert set(found.frame().query("selected")[["layer", "unit"]].itertuples(index=False)) == full
    # Two random 3 of 12: i of 3 in common with C(3,i) C(9,3-i) / 220, Jaccard i / (6 - i).
    assert found.chance == pytest.approx((108 * 1 / 5 + 27 * 2 / 4 + 1) / 220)


RESAMPLED = [
    "signed", "magnitude", "l2", "standardised", "consistency", "effect", "gradient", "attribution",
]  # fmt: skip


@pytest.mark.parametrize("ranking", RESAMPLED)
def test_noise_is_the_overlap_of_masks_of_pairs_with_right_and_wrong_exchanged(llama, ranking):
    """Each draw is repeated with pairs that are really exchanged, half by half."""
    import sadi_lens as sl

    pairs, k, n_boot, seed = many_pairs(), 4, 3, 5
    found = sl.measure.mask_stability(
        llama, pairs, "head", k, ranking=ranking, n_boot=n_boot, seed=seed, progress=False
    )
    generator = np.random.default_rng(seed)
    generator.multinomial(24, np.full(24, 1 / 24), size=n_boot)
    orders = [generator.permutation(24) for _ in range(n_boot)]
    signs = generator.choice([-1.0, 1.0], size=(n_boot, 24))
    for draw, order in enumerate(orders):
        swapped = [
            one
            if sign > 0
            else dataclasses.replace(one, positive=one.negative, negative=one.positive)
            for one, sign in zip(pairs, signs[draw], strict=True)
        ]
        one, two = (
            set(
                sl.top_k_mask(
                    sl.unit_scores(
                        llama, [swapped[i] for i in half], "head", ranking, progress=False
                    ),
                    k,
                ).units
            )
            for half in (order[:12], order[12:])
        )
        assert found.noise[draw] == len(one & two) / len(one | two)


def test_units_that_vary_much_come_back_without_a_signal(llama, monkeypatch):
    """Pure noise, three of twelve units ten times as loud: always the same three, far above random masks."""
    import sadi_lens as sl
    from sadi_lens.measure import stability

    loud = np.ones((3, 4, 1))
    loud[1, :3] = 10
    values = np.random.default_rng(0).standard_normal((24, 3, 4, 1)) * loud
    monkeypatch.setattr(stability, "pair_arrays", lambda *_args, **_options: (values,))
    found = sl.measure.mask_stability(
        llama, many_pairs(), "head", 3, ranking="magnitude", progress=False
    )
    assert found.chance < 0.2
    assert found.split_half.mean() > 2 * found.chance
    assert found.noise.mean() > 2 * found.chance
    assert f"swapped at random {found.noise.mean():.2f}" in str(found)


@pytest.mark.parametrize("is_named", [False, True])
def test_pairs_of_one_cluster_are_drawn_together(llama, monkeypatch, is_named):
    """Twelve prompts, or facts asked in three ways, in three pairs each. Those pairs are alike and differ in nothing
    else: halves that shared a prompt or fact would agree."""
    import sadi_lens as sl
    from sadi_lens.measure import stability

    prompts = [one.prompt for one in many_pairs()[:12]]
    pairs = [
        sl.ContrastivePair(f"{wrong[1:]} ." * is_named + prompt, " ball", wrong, cluster=name)
        for prompt, name in zip(prompts, prompts if is_named else [None] * 12, strict=True)
        for wrong in (" box", " hat", " hill")
    ]
    assert len({one.prompt for one in pairs}) == (36 if is_named else 12)
    # Pair p has its own unit, p // 3, and nothing else: a half selects the units of its prompts.
    values = np.zeros((36, 3, 4, 1))
    values[np.arange(36), np.arange(36) // 12, np.arange(36) // 3 % 4] = 1
    monkeypatch.setattr(stability, "pair_arrays", lambda *_args, **_options: (values,))
    found = sl.measure.mask_stability(llama, pairs, "head", 6, n_boot=30, progress=False)
    assert (found.split_half == 0).all()
    assert found.n_pairs == 36
    curve = sl.measure.pairs_needed(
        llama, pairs, "head", 2, sizes=[4, 18, 36], n_draws=30, progress=False
    )
    # Four pairs are of two prompts, and the next four of two others.
    assert (curve.jaccard_disjoint[0] == 0).all()
    assert np.isfinite(curve.jaccard_disjoint[1]).all()  # 18 pairs are six whole prompts
    assert np.isnan(curve.jaccard_disjoint[2]).all()
    with pytest.raises(ValueError, match="at least 2 clusters, got 1"):
        sl.measure.mask_stability(llama, pairs[:3], "head", 1, progress=False)


def test_the_planted_mask_is_perfectly_stable(planted):
    import sadi_lens as sl
    from sadi_lens.models.planted import PLANTED

    model, task = planted
    found = sl.measure.mask_stability(model, task, "neuron", 1, n_boot=20, progress=False)
    assert found.mask.units == (PLANTED["neuron"],)
    assert (found.bootstrap == 1).all()
    assert (found.split_half == 1).all()
    assert found.chance == pytest.approx(1 / (4 * 48))
    assert (
        "Jaccard 1.00 (bootstrap), 1.00 (split half; with right and wrong swapped at random"
        in str(found)
    )


def test_draws_that_take_one_step_have_no_bar_of_their_own(planted, capsys):
    import sadi_lens as sl

    model, task = planted
    sl.measure.pairs_needed(model, task.pairs, "head", 1, sizes=[2, 4], n_draws=3)
    said = capsys.readouterr().err
    assert "activations" in said
    assert "draws" not in said


def test_pairs_needed_on_the_planted_model(planted):
    """Any two pairs find the planted unit; accuracy at strength 3 is what equation (1) says."""
    import sadi_lens as sl
    from sadi_lens.models._planted_task import planted_accuracy

    model, task = planted
    found = sl.measure.pairs_needed(
        model,
        task,
        "head",
        1,
        sizes=[2, 70, 128],
        samples=task.dev,
        strength=3.0,
        n_draws=3,
        progress=False,
    )
    assert (found.jaccard_all == 1).all()
    assert (found.jaccard_disjoint[0] == 1).all()
    assert np.isnan(found.jaccard_disjoint[1:]).all()  # 2 x 70 pairs are not there
    assert (found.accuracy == planted_accuracy(task.dev, 3.0)).all()
    assert found.unsteered_accuracy == planted_accuracy(task.dev)
    unsteered = sl.evaluate(model, task.dev, progress=False)
    assert found.unsteered_margin == pytest.approx(unsteered.margin, abs=1e-5)
    assert found.split == "dev"
    assert len(found.frame()) == 9
    assert found.gains is True
    # One item mended of two: 50 points, which two items cannot tell from zero.
    before, after = (
        sl.evaluate(model, task.dev, one, progress=False).correct
        for one in (None, sl.MaskedScaling(sl.Mask.from_units("head", [(1, 2)], model), 3.0))
    )
    two = [task.dev[np.flatnonzero(after & ~before)[0]], task.dev[np.flatnonzero(before)[0]]]
    few = sl.measure.pairs_needed(
        model, task, "head", 1, sizes=[128], samples=two, strength=3.0, n_draws=1, progress=False
    )
    assert few.accuracy[0, 0] == few.unsteered_accuracy + 0.5
    assert few.gains is False


def test_pairs_needed_scores_each_mask_as_evaluate_does(llama, samples):
    import sadi_lens as sl

    pairs = many_pairs()
    found = sl.measure.pairs_needed(
        llama, pairs, "head", 2, samples=samples, strength=2.0, n_draws=4, seed=3, progress=False
    )
    assert found.sizes == (2, 3, 6, 12, 24)
    assert (found.jaccard_all[-1] == 1).all()
    assert found.jaccard_all[0].mean() < 1
    order = np.random.default_rng(3).permutation(24)  # the first draw of the smallest size
    scores = sl.unit_scores(llama, [pairs[i] for i in order[:2]], "head", progress=False)
    mask = sl.top_k_mask(scores, 2)
    one = sl.evaluate(llama, samples, sl.MaskedScaling(mask, 2.0), progress=False)
    assert found.accuracy[0, 0] == one.accuracy
    assert found.margin[0, 0] == pytest.approx(one.margin, abs=1e-4)
    other = sl.unit_scores(llama, [pairs[i] for i in order[2:4]], "head", progress=False)
    two, both = set(sl.top_k_mask(other, 2).units), set(mask.units)
    assert found.jaccard_disjoint[0, 0] == len(both & two) / len(both | two)
    assert (found.jaccard_disjoint[:3] < 1).any()
    plain = sl.measure.pairs_needed(llama, pairs, "head", 2, n_draws=4, seed=3, progress=False)
    assert np.isnan(plain.accuracy).all()
    np.testing.assert_array_equal(plain.jaccard_all, found.jaccard_all)


def test_resampling_refuses_bad_input(llama, samples):
    import sadi_lens as sl

    pairs = many_pairs(4)
    with pytest.raises(ValueError, match=r"k must be in \[1, 12\], got 13"):
        sl.measure.mask_stability(llama, pairs, "head", 13, progress=False)
    with pytest.raises(ValueError, match="pairs must be of at least 2 clusters, got 1"):
        sl.measure.mask_stability(llama, pairs[:1], "head", 1, progress=False)
    with pytest.raises(ValueError, match="n_boot must be at least 1, got 0"):
        sl.measure.mask_stability(llama, pairs, "head", 1, n_boot=0, progress=False)
    with pytest.raises(ValueError, match="'probe' is fitted on all pairs together"):
        sl.measure.mask_stability(llama, pairs, "head", 1, ranking="probe", progress=False)
    with pytest.raises(ValueError, match=r"sizes must be whole numbers in \[1, 4\]"):
        sl.measure.pairs_needed(llama, pairs, "head", 1, sizes=[2, 5], progress=False)
    with pytest.raises(ValueError, match="samples and strength belong together"):
        sl.measure.pairs_needed(llama, pairs, "head", 1, samples=samples, progress=False)
    with pytest.raises(ValueError, match="n_draws must be at least 1, got 0"):
        sl.measure.pairs_needed(llama, pairs, "head", 1, n_draws=0, progress=False)


@pytest.mark.parametrize(
    ("position", "wanted"), [("last_prompt", 1), ("every_step", 4), ("all", 8)]
)
def test_a_receipt_lists_what_was_edited(llama, position, wanted):
    """Prompt of 5 tokens, 4 new ones: the last of these is never fed back. Norms by hand."""
    import torch

    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(0, 1), (0, 3), (2, 2)], llama)
    sadi = sl.MaskedScaling(mask, 2.0)
    prompt = "the big red ball"
    found = sl.measure.receipt(
        llama, prompt, sadi, position=position, max_new_tokens=4, eos_token_id=None
    )
    assert (
        found.text
        == sl.generate(llama, prompt, sadi, position=position, max_new_tokens=4, eos_token_id=None)[
            0
        ]
    )
    assert (found.n_prompt, found.passes) == (5, 4)
    assert len(found.edits) == 2 * wanted  # two layers
    edited = 1 if position == "last_prompt" else 4
    assert found.firings == ((0, 4, edited), (2, 4, edited))
    frame = found.frame()
    tokens = sorted(set(frame.token))
    assert (
        tokens == {"last_prompt": [4], "every_step": [4, 5, 6, 7], "all": list(range(8))}[position]
    )
    assert set(frame.component) == {"head"}
    assert frame.query("token == 4").text.unique().tolist() == [" ball"]
    # Layer 0 sees nothing of the edits, so its norms follow from a clean run.
    ids = torch.tensor([llama.tokenizer(prompt)["input_ids"]])
    z = sl.engine.read_activations(llama, ids, components=["head"])["head"][0][0, 4]
    scaled = z.clone()
    scaled[[1, 3]] *= 3
    row = frame.query("token == 4 and layer == 0").iloc[0]
    assert row.step == 0
    assert row.norm_before == pytest.approx(float(z.norm()), rel=1e-5)
    assert row.norm_after == pytest.approx(float(scaled.norm()), rel=1e-5)
    assert row.norm_change == pytest.approx(2 * float(z[[1, 3]].norm()), rel=1e-5)


def test_a_receipt_of_nothing_is_empty_and_of_beams_refused(llama):
    import sadi_lens as sl

    mask = sl.Mask.from_units("head", [(0, 1)], llama)
    found = sl.measure.receipt(llama, "the ball", sl.MaskedScaling(mask, 0.0), max_new_tokens=2)
    assert found.edits == ()
    assert found.firings == ()
    assert list(found.frame().columns)[:2] == ["step", "token"]
    with pytest.raises(ValueError, match="of one row, the generation runs 2"):
        sl.measure.receipt(llama, "the ball", sl.MaskedScaling(mask, 1.0), num_beams=2)
    assert not llama.get_hook_point("blocks.0.attn.hook_z").fwd_hooks
    assert not llama.original_model._forward_pre_hooks


PROMPTS = ["the ball is", "Tom says the big red hat is in the", "a"]


@pytest.mark.parametrize("position", ["last_prompt", "every_step", "all"])
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_sound_intervention_passes_every_check(llama, differences, component, position):
    import sadi_lens as sl

    sadi = sl.MaskedScaling(sl.top_k_mask(differences[component], 4), 3.0)
    found = sl.measure.check(llama, sadi, PROMPTS, position=position)
    assert found.is_ok, str(found)
    assert found.effect > 100 * max(row.difference for row in found.rows)
    assert [row.name for row in found.rows] == [
        "batch or single", "left or right padding", "KV cache or none", "strength 0 or unsteered",
        "before or after steering",
    ]  # fmt: skip
    assert [row.difference for row in found.rows[3:]] == [0, 0]
    assert found.frame().ok.all()


@dataclasses.dataclass(frozen=True)
class Broken:
    """Scales by something that depends on the other rows, or on the length of the pass."""

    by: str
    component: str = "head"
    layers: tuple = (1,)
    label: str = "broken"

    def edit(self, activation, _layer):
        return activation * {"rows": activation.shape[0], "length": activation.shape[1]}[self.by]

    def check(self, info):
        pass


@pytest.mark.parametrize(
    ("by", "bad"),
    [("rows", {"batch or single"}), ("length", {"batch or single", "KV cache or none"})],
)
def test_a_check_finds_an_intervention_that_depends_on_how_it_is_run(llama, by, bad):
    import sadi_lens as sl

    found = sl.measure.check(llama, Broken(by), PROMPTS)
    assert {row.name for row in found.rows if not row.is_ok} == bad
    assert not found.is_ok
    assert f"NOT {sorted(bad)[-1]}" in str(found)
    assert len(found.rows) == 4  # it has no strength to set to 0


def test_a_check_finds_a_strength_zero_that_is_not_the_identity(llama):
    import sadi_lens as sl

    @dataclasses.dataclass(frozen=True)
    class Leaky(Broken):
        strength: float = 1.0

        def edit(self, activation, _layer):
            return activation * (1.001 + self.strength)

    found = sl.measure.check(llama, Leaky("rows"), PROMPTS)
    assert [row.name for row in found.rows if not row.is_ok] == ["strength 0 or unsteered"]


def test_a_check_refuses_bad_input(llama):
    import sadi_lens as sl

    sadi = sl.MaskedScaling(sl.Mask.from_units("head", [(0, 1)], llama), 1.0)
    with pytest.raises(ValueError, match="prompts must be a list of at least 2"):
        sl.measure.check(llama, sadi, ["the ball"])
    with pytest.raises(TypeError, match=r"prompts must be a list of \(texts or lists of dicts\)"):
        sl.measure.check(llama, sadi, "the ball")
    with pytest.raises(ValueError, match="n_steps must be at least 1, got 0"):
        sl.measure.check(llama, sadi, PROMPTS, n_steps=0)


def test_results_are_the_same_after_saving(llama, differences, samples, pairs, tmp_path):
    import sadi_lens as sl

    mask = sl.top_k_mask(differences["head"], 3)
    sadi = sl.MaskedScaling(mask, 2.0)
    quiet = {"progress": False}
    for index, thing in enumerate(
        [
            sl.unit_scores(llama, pairs, "head", "effect", **quiet),
            sl.find.sign_agreement(llama, pairs, differences["head"], **quiet),
            sl.measure.mask_stability(llama, pairs, "head", 2, n_boot=3, **quiet),
            sl.measure.pairs_needed(llama, pairs, "head", 2, n_draws=2, **quiet),
            sl.measure.unit_effects(llama, samples, mask, 1.0, **quiet),
            sl.measure.prune_mask(llama, samples, mask, 1.0, **quiet),
            sl.measure.receipt(llama, "the ball", sadi, max_new_tokens=2),
            sl.measure.check(llama, sadi, PROMPTS),
        ]
    ):
        path = sl.save(thing, tmp_path / str(index))
        found = sl.load(path, model=llama)
        assert found == thing
