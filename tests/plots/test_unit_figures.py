"""Figures of units: expected values worked out by hand or from the definition."""

from dataclasses import replace

import gallery
import numpy as np
import pytest


def named(figure, part):
    return next(trace for trace in figure.data if part in str(trace.name))


def differences_of(mean, std=1.0, n=25):
    import sadi_lens as sl

    mean = np.array(mean, dtype=np.float32)
    one = np.zeros((*mean.shape, 1), dtype=np.float32)
    std = np.full(mean.shape, std, dtype=np.float32)
    info = replace(gallery.info(), n_layers=mean.shape[0], n_heads=mean.shape[1])
    return sl.types.ActivationDifferences("head", info, n, mean, std, one, one, std, "hints")


def title(figure):
    return figure.layout.title.text.replace("<br>", " ")


def subtitle(figure):
    """The line below the title and the note below the figure."""
    notes = [one.text for one in figure.layout.annotations if one.name == "note"]
    return " · ".join([figure.layout.title.subtitle.text, *notes]).replace("<br>", " · ")


# Rank curve --------------------------------------------------------------------------------------


def test_the_rank_curve_is_sorted_named_and_cut_at_k():
    from sadi_lens import plots

    figure = plots.rank_curve(differences_of([[0.5, -2, 0], [1, 0.25, -0.5]]), 2)
    curve = named(figure, "units")
    np.testing.assert_array_equal(curve.x, [1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(curve.y, [1, 0.5, 0.25, 0, -0.5, -2])
    assert list(curve.customdata) == ["L1H0", "L0H0", "L1H1", "L0H2", "L1H2", "L0H1"]
    assert "rank %{x:,d} of 6" in curve.hovertemplate
    shade = named(figure, "selected: K = 2, down to +0.5")
    assert max(shade.x) == 2.5


def test_the_null_line_and_the_count_above_it():
    from sadi_lens import plots
    from sadi_lens.types.results import SignFlipNull

    one = differences_of([[0.5, -2, 0], [1, 0.25, -0.5]])
    null = SignFlipNull("head", one.model, 25, np.linspace(0, 0.4, 101, dtype=np.float32))
    figure = plots.rank_curve(one, 3, null=null)
    line = named(figure, "95% of 101 sign-flipped maxima")
    np.testing.assert_allclose(line.y, [0.38, 0.38], rtol=1e-6)  # 95th of 0, .004, ..., .4
    assert title(figure) == "2 of 6 heads exceed what chance gives; K = 3 takes 1 that do not"
    high = SignFlipNull("head", one.model, 25, np.full(101, 5, dtype=np.float32))
    assert title(plots.rank_curve(one, null=high)) == "No head exceeds what chance gives"


def test_without_a_null_the_title_says_how_sharp_the_cut_is():
    from sadi_lens import plots

    one = differences_of([[5, 4.9, 1], [0.9, 0.8, 0.7]])
    assert title(plots.rank_curve(one, 2)) == (
        "The cut at K = 2 falls into the widest gap: rank 2 has +4.9, rank 3 +1"
    )
    assert title(plots.rank_curve(one, 1)) == (
        "The cut at K = 1 is not sharp: rank 1 has +5, rank 2 +4.9"
    )
    assert title(plots.rank_curve(one)) == "The largest of 6 heads is +5, the median +0.95"


def test_thousands_of_units_are_thinned_but_keep_both_ends_and_the_cut():
    from sadi_lens import plots

    one = gallery.differences("neuron", "7b")
    curve = named(plots.rank_curve(one, 5000), "units")
    ranks = np.asarray(curve.x)
    assert ranks.size < 2000
    assert {1, 2, 5000, 5001, one.mean.size - 1, one.mean.size} <= set(ranks.tolist())
    ordered = -np.sort(-one.mean.ravel())
    np.testing.assert_array_equal(curve.y, ordered[ranks - 1])


def test_a_rank_curve_refuses_k_out_of_range_and_the_null_of_another_component():
    from sadi_lens import plots

    one = gallery.differences()
    for k, bound in ((0, "at least 1"), (81, r"in \[1, 80\] \(units with a value\)")):
        with pytest.raises(ValueError, match=f"k must be {bound}, got {k}"):
            plots.rank_curve(one, k)
    with pytest.raises(ValueError, match="null must be of component 'head' on tiny, got 'neuron'"):
        plots.rank_curve(one, null=gallery.sign_flip_null(component="neuron"))


# Overlap -----------------------------------------------------------------------------------------


def mask_of(*units):
    import sadi_lens as sl

    selected = np.zeros((2, 5), dtype=bool)
    for unit in units:
        selected.flat[unit] = True
    return sl.Mask("head", selected, model=gallery.info())


def test_the_overlap_is_shared_over_either_with_its_chance():
    from sadi_lens import plots

    figure = plots.mask_overlap({"a": mask_of(0, 1), "b": mask_of(1, 2, 3), "none": mask_of()})
    trace = figure.data[0]
    np.testing.assert_allclose(
        np.asarray(trace.z, dtype=float), [[1, 0.25, 0], [0.25, 1, 0], [0, 0, np.nan]]
    )
    # Two of 10 and three of 10: overlap 0, 1, 2 with 21, 21, 3 of 45; Jaccard 0, 1/4, 2/3.
    chance = (21 * 0 + 21 * 0.25 + 3 * (2 / 3)) / 45
    np.testing.assert_allclose(np.asarray(trace.customdata)[0, 1], [1, 4, chance])
    assert trace.text[0][1] == f"0.25<br>({chance:.2f})"
    assert trace.hovertext[0][1].startswith("<b>a and b</b><br>Jaccard 0.250<br>1 shared of 4 in")
    assert trace.hovertext[0][1].endswith(f"two random masks of these sizes: {chance:.3f}")
    assert "random" not in trace.hovertext[0][0]
    assert trace.text[2][2] == "\u2212"  # no index
    assert "empty, so without an index: none" in subtitle(figure)
    # A quarter is less than the two would share by chance.
    assert title(figure) == (
        f"No two masks share more units than random ones would: a and b 0.25, chance {chance:.2f}"
        if chance >= 0.25
        else f"a and b share most: Jaccard 0.25, chance {chance:.2f}"
    )


def test_couples_that_share_as_much_are_counted_in_the_title():
    from sadi_lens import plots

    masks = {"a": mask_of(0, 1), "b": mask_of(0, 1), "c": mask_of(0, 1), "d": mask_of(8, 9)}
    assert title(plots.mask_overlap(masks)).startswith("a and b, and 2 other couples, share most")
    del masks["c"]
    assert title(plots.mask_overlap(masks)).startswith("a and b share most")


def test_masks_of_different_shapes_share_nothing_to_draw():
    from sadi_lens import plots

    with pytest.raises(ValueError, match="at least 2 masks, got 1"):
        plots.mask_overlap({"a": mask_of(0)})
    with pytest.raises(ValueError, match="same \\(component, layers, units\\)"):
        plots.mask_overlap({"a": mask_of(0), "b": gallery.masks()["neuron"]})
    both_empty = plots.mask_overlap({"a": mask_of(), "b": mask_of()})
    assert title(both_empty) == "No two masks have units to share"


# Pairs -------------------------------------------------------------------------------------------


def test_pairs_are_drawn_as_mean_and_band_of_their_subsets():
    from sadi_lens import plots

    curve = gallery.pairs_curves()["SADI head"]
    accuracy = np.tile(np.linspace(0.5, 0.9, 41, dtype=np.float32), (5, 1))
    accuracy[0, :10] = np.nan
    same = np.zeros((5, 41), dtype=np.float32)
    curve = replace(
        curve,
        accuracy=accuracy,
        margin=same,
        jaccard_all=same,
        jaccard_disjoint=same,
        noise_all=None,
        noise_disjoint=None,
    )
    figure = plots.pairs_ablation({"SADI <i>": curve})
    line = named(figure, "SADI &lt;i&gt; (K = 6, strength 5, signed)")
    np.testing.assert_array_equal(line.x, curve.sizes)
    np.testing.assert_allclose(line.y, [75, 70, 70, 70, 70], rtol=1e-5)
    # 2.5% and 97.5% of 50, 51, ..., 90; the first size has 60, ..., 90
    np.testing.assert_allclose(np.asarray(line.customdata)[1], [51, 89, 41], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(line.customdata)[0], [60.75, 89.25, 31], rtol=1e-5)
    assert "unsteered 64.0%" in [a.text for a in figure.layout.annotations]


@pytest.mark.parametrize(
    ("means", "answer", "ring"),
    [
        ((0.64, 0.70, 0.79, 0.795, 0.8), "50 of 150", 50),  # 0.79 is 0.15 of the gain of 0.16
        ((0.64, 0.70, 0.72, 0.74, 0.8), "all 150 (still rising)", None),
        ((0.64, 0.80, 0.65, 0.80, 0.8), "100 of 150", 100),  # a dip on the way counts
        ((0.70, 0.64, 0.62, 0.60, 0.6), "no gain with 150", None),
    ],
)
def test_the_title_answers_how_many_pairs_are_enough(means, answer, ring):
    from sadi_lens import plots

    curve = gallery.pairs_curves()["SADI head"]
    accuracy = np.tile(np.array(means, dtype=np.float32)[:, None], (1, 20))
    figure = plots.pairs_ablation({"SADI": replace(curve, accuracy=accuracy)})
    assert title(figure) == f"Pairs needed for 90% of the full gain: {answer}"
    rings = [t.x[0] for t in figure.data if t.marker.symbol == "circle-open"]
    assert rings == ([] if ring is None else [ring])


def test_a_gain_that_may_be_none_needs_no_number_of_pairs():
    from sadi_lens import plots

    curve = gallery.pairs_curves()["SADI head"]
    means = np.array((0.64, 0.70, 0.79, 0.795, 0.8), dtype=np.float32)
    curve = replace(curve, accuracy=np.tile(means[:, None], (1, 20)), gains=False)
    figure = plots.pairs_ablation({"SADI": curve})
    assert title(figure).endswith(": no gain told from zero with 150")
    assert not [trace for trace in figure.data if trace.marker.symbol == "circle-open"]
    sure = plots.pairs_ablation({"SADI": replace(curve, gains=True)})
    assert title(sure).endswith(": 50 of 150")


def test_the_gain_in_margin_counts_from_the_unsteered_margin():
    """-0.5 to 1: 0.9 of 1.5 is 1.35, reached where the margin is above 0.85."""
    from sadi_lens import plots

    curve = gallery.pairs_curves()["SADI head"]
    margin = np.tile(np.array((0.8, 0.84, 0.9, 0.95, 1.0), dtype=np.float32)[:, None], (1, 20))
    curve = replace(curve, margin=margin, unsteered_margin=-0.5)
    figure = plots.pairs_ablation({"SADI": curve}, measure="margin")
    assert title(figure) == "Pairs needed for 90% of the full gain: 50 of 150"
    assert "unsteered \u22120.5 nats" in [a.text for a in figure.layout.annotations]
    old = replace(curve, unsteered_margin=float("nan"))
    assert title(plots.pairs_ablation({"SADI": old}, measure="margin")) == (
        "Pairs needed for 90% of the full gain: not known, without the unsteered model"
    )


def test_an_overlap_stands_beside_that_of_pairs_that_tell_nothing():
    """Not beside that of random masks: units that vary much come back without a signal."""
    from sadi_lens import plots

    curve = gallery.pairs_curves()["SADI head"]
    shape, known = curve.jaccard_all.shape, np.arange(5)[:, None] < 3
    curve = replace(
        curve,
        jaccard_disjoint=np.where(known, np.full(shape, 0.5), np.nan),
        noise_all=np.tile([0.2, 0.4], (5, 10)),
        noise_disjoint=np.where(known, np.tile([0.1, 0.2], (5, 10)), np.nan),
    )
    figure = plots.pairs_ablation({"SADI": curve}, measure="jaccard_disjoint")
    assert title(figure) == (
        "Masks of 50 pairs that share none agree to Jaccard 0.50; 0.15 if right and wrong are swapped at random"
    )
    dotted = next(one for one in figure.data if one.line.dash == "dot" and one.mode == "lines")
    np.testing.assert_allclose(dotted.y[:3], 0.15)
    assert np.isnan(dotted.y[3:]).all()
    both = plots.pairs_ablation({"SADI": curve}, measure="jaccard_all")
    assert title(both).endswith("; 0.30 if right and wrong are swapped at random")


def test_the_overlap_of_masks_from_fewer_pairs_stops_where_no_pair_is_left():
    from sadi_lens import plots

    curves = gallery.pairs_curves()
    figure = plots.pairs_ablation(curves, measure="jaccard_disjoint")
    line = named(figure, "SADI head")
    np.testing.assert_array_equal(line.x, [10, 25, 50])  # 100 and 150 have no disjoint halves
    texts = [a.text for a in figure.layout.annotations]
    assert "random masks 0.020" in texts  # of all curves, so it bears the name of none
    other = {**curves, "other": replace(curves["SADI head"], chance=0.5)}
    texts = [
        a.text for a in plots.pairs_ablation(other, measure="jaccard_disjoint").layout.annotations
    ]
    assert {"random masks 0.020 (SADI head)", "random masks 0.500 (other)"} <= set(texts)
    assert title(figure).startswith("Masks of 50 pairs that share none agree to Jaccard 0.")
    with pytest.raises(ValueError, match=r"measure must be one of .* did you mean 'accuracy'"):
        plots.pairs_ablation(curves, measure="acuracy")
    with pytest.raises(ValueError, match="at least one curve, got 0"):
        plots.pairs_ablation({})
    none = replace(curves["SADI head"], accuracy=np.full((5, 20), np.nan, np.float32))
    with pytest.raises(ValueError, match="measure 'accuracy', needs at least one finite value"):
        plots.pairs_ablation({"x": none})
