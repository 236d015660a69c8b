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
    return figure.layout.title.subtitle.text.replace("<br>", " ")


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
    assert title(figure) == "2 of 6 heads above the sign-flip null; K = 3"


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
    for k in (0, 81):
        with pytest.raises(ValueError, match=rf"k must be in \[1, 80\] .* got {k}"):
            plots.rank_curve(one, k)
    with pytest.raises(ValueError, match="null must be of component 'head' on tiny, got 'neuron'"):
        plots.rank_curve(one, null=gallery.sign_flip_null(component="neuron"))


# Layer quantiles ---------------------------------------------------------------------------------


def test_bands_are_the_quantiles_of_each_layer_and_dots_the_selected_units():
    import sadi_lens as sl
    from sadi_lens import plots

    mean = np.stack([np.arange(101) / 100, np.arange(101) / 50])
    one = differences_of(mean)
    selected = np.zeros((2, 101), dtype=bool)
    selected[1, 100] = selected[0, 50] = True
    figure = plots.layer_quantiles(one, sl.Mask("head", selected))
    half = named(figure, "25% to 75%")
    np.testing.assert_allclose(np.asarray(half.base, dtype=float), [0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(half.y, [0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(named(figure, "median").y, [0.5, 1.0], rtol=1e-6)
    dots = named(figure, "in the mask (2)")
    # Above 0.5 lie 75 units of layer 1 and 50 of layer 0; the tie with L1H25 goes to the lower layer.
    np.testing.assert_array_equal(dots.customdata, [[1, 100, 1], [0, 50, 126]])
    np.testing.assert_allclose(dots.y, [2, 0.5])
    assert title(figure) == "Layer 1 reaches furthest: +2"


def test_the_extremes_of_every_layer_are_named():
    from sadi_lens import plots

    figure = plots.layer_quantiles(differences_of([[0.5, -2, 0], [1, 0.25, -0.5]]))
    extremes = named(figure, "extremes")
    np.testing.assert_array_equal(extremes.x, [0, 1, 0, 1])
    np.testing.assert_allclose(extremes.y, [-2, -0.5, 0.5, 1])
    np.testing.assert_array_equal(np.asarray(extremes.customdata)[:, 0], [1, 2, 0, 0])
    np.testing.assert_array_equal(np.asarray(extremes.customdata)[:, 1], [6, 5, 2, 1])


# Volcano -----------------------------------------------------------------------------------------


def test_the_volcano_shows_mean_against_t_with_the_bonferroni_line():
    from scipy import stats

    from sadi_lens import plots

    figure = plots.volcano(differences_of([[0.5, -2, 0.25]], std=2, n=25))
    right, wrong = (named(figure, f"larger on the {side} answer") for side in ("right", "wrong"))
    np.testing.assert_allclose(right.x, [0.5, 0.25])
    np.testing.assert_allclose(right.y, [1.25, 0.625])  # SE = 2 / sqrt(25) = 0.4
    np.testing.assert_allclose(wrong.y, [5])
    assert wrong.customdata[0][0] == "L0H1"
    assert wrong.customdata[0][1] == 3
    line = stats.t.isf(0.05 / 2 / 3, 24)
    np.testing.assert_allclose(named(figure, "Bonferroni").y, [line, line])
    assert title(figure).startswith("1 head of 3 differ")


def test_a_volcano_of_many_units_shows_a_density_and_the_extremes():
    from sadi_lens import plots

    one, mask = gallery.differences("neuron", "7b"), gallery.masks("7b")["neuron"]
    figure = plots.volcano(one, mask)
    density = next(trace for trace in figure.data if trace.type == "heatmap")
    assert int(np.asarray(density.customdata).sum()) == one.mean.size
    points = [t for t in figure.data if "larger on" in str(t.name)]
    assert sum(len(t.x) for t in points) <= 1200
    largest = float(np.abs(one.mean / one.standard_error).max())
    assert max(float(np.max(t.y)) for t in points) == pytest.approx(largest)


def test_a_volcano_needs_two_pairs_and_some_spread():
    from sadi_lens import plots

    with pytest.raises(ValueError, match="at least 2 pairs for a t statistic, got 1"):
        plots.volcano(differences_of([[1, 2]], n=1))
    with pytest.raises(ValueError, match="at least one finite value"):
        plots.volcano(differences_of([[1, 2]], std=0))


# ECDF --------------------------------------------------------------------------------------------


def activations_of(positive, negative):
    from sadi_lens.types.results import UnitActivations

    columns = [np.array(side, dtype=np.float32) for side in (positive, negative)]
    units = tuple((0, unit) for unit in range(columns[0].shape[1]))
    return UnitActivations("head", gallery.info(), units, *columns, "hints")


def test_the_ecdf_steps_through_the_values_and_states_auc_and_gap():
    from sadi_lens import plots

    figure = plots.activation_ecdf(activations_of([[1.0], [2], [3], [4]], [[0.0], [1], [2], [2.5]]))
    right = named(figure, "right answer")
    np.testing.assert_allclose(right.x, [1, 1, 2, 3, 4])
    np.testing.assert_allclose(right.y, [0, 25, 50, 75, 100])
    # couples (right > wrong) of 16: 1 beats 1 and ties 1, 2 beats 2 and ties 1, 3 and 4 beat all 4.
    assert "AUC 0.75" in subtitle(figure)
    assert title(figure) == "L0H0 alone tells right from wrong in 75.0% of pairings"
    gap = named(figure, "largest gap D = 0.50")  # at 2.5: wrong 100%, right 50%
    np.testing.assert_allclose(gap.x, [2.5, 2.5])
    np.testing.assert_allclose(gap.y, [50, 100])


def test_the_default_unit_is_the_most_telling_one_and_says_so():
    from sadi_lens import plots

    one = activations_of([[1, 5.0], [2, 6], [3, 7]], [[1, 0.0], [2, 1], [3, 2]])
    figure = plots.activation_ecdf(one)
    assert title(figure).startswith("L0H1 ")
    assert "best of 2 units looked at" in subtitle(figure)
    assert "AUC 0.50" in subtitle(plots.activation_ecdf(one, (0, 0)))
    with pytest.raises(ValueError, match=r"unit must be one of .* got \(9, 9\)"):
        plots.activation_ecdf(one, (9, 9))
    with pytest.raises(ValueError, match="needs finite activations on both sides"):
        plots.activation_ecdf(activations_of([[np.nan]], [[1.0]]))
    with pytest.raises(ValueError, match="at least one unit, got 0"):
        plots.activation_ecdf(activations_of(np.zeros((3, 0)), np.zeros((3, 0))))


def test_a_curve_of_many_pairs_is_thinned_to_its_shares():
    from sadi_lens import plots

    values = np.arange(20_000, dtype=np.float32)[:, None]
    figure = plots.activation_ecdf(activations_of(values, values - 5))
    right = named(figure, "right answer")
    assert len(right.x) <= 1002
    np.testing.assert_allclose(
        np.asarray(right.y)[1:], 100 * (np.asarray(right.x)[1:] + 1) / 20_000
    )
    assert right.y[-1] == 100


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
    assert trace.text[2][2] == ""
    assert "empty, so without an index: none" in subtitle(figure)
    assert title(figure) == f"a and b share 0.25, chance {chance:.2f}"


def test_masks_of_different_shapes_share_nothing_to_draw():
    from sadi_lens import plots

    with pytest.raises(ValueError, match="at least 2 masks, got 1"):
        plots.mask_overlap({"a": mask_of(0)})
    with pytest.raises(ValueError, match="same \\(component, layers, units\\)"):
        plots.mask_overlap({"a": mask_of(0), "b": gallery.masks()["neuron"]})
    both_empty = plots.mask_overlap({"a": mask_of(), "b": mask_of()})
    assert title(both_empty) == "No two masks have units to share"


# Top units by layer ------------------------------------------------------------------------------


def test_the_top_units_are_counted_by_layer():
    from sadi_lens import plots

    one = differences_of([[5, 4, -9], [3, -1, 2], [0, 0, 1]])
    figure = plots.top_units_by_layer({"heads": one}, 4)
    np.testing.assert_array_equal(figure.data[0].y, [2, 2, 0])
    largest = plots.top_units_by_layer({"heads": one}, 4, ranking="magnitude")
    np.testing.assert_array_equal(largest.data[0].y, [3, 1, 0])
    assert "magnitude mean difference" in subtitle(largest)
    with pytest.raises(ValueError, match=r"k must be in \[1, 9\], got 100"):
        plots.top_units_by_layer({"heads": one})
    with pytest.raises(ValueError, match="same number of layers"):
        plots.top_units_by_layer({"a": one, "b": gallery.differences()}, 4)
    with pytest.raises(ValueError, match="at least one component, got 0"):
        plots.top_units_by_layer({})


# Sign agreement ----------------------------------------------------------------------------------


def test_the_agreement_map_shows_shares_round_a_coin():
    from sadi_lens import plots
    from sadi_lens.types.results import SignAgreement

    share = np.array([[0.9, 0.5], [np.nan, 0.2]], dtype=np.float32)
    info = replace(gallery.info(), n_layers=2, n_heads=2)
    one = SignAgreement("head", info, 40, share, 1 - share, "hints")
    import sadi_lens as sl

    mask = sl.Mask("head", np.array([[True, False], [False, True]]))
    figure = plots.sign_agreement_map(one, mask)
    trace = figure.data[0]
    np.testing.assert_allclose(trace.z, [[90, 50], [np.nan, 20]], rtol=1e-6)
    assert trace.zmid == 50
    assert trace.zmax - 50 == pytest.approx(50 - trace.zmin)
    assert title(figure) == "The 2 selected point the way of D on 55.0% of inputs"
    other = plots.sign_agreement_map(one, by="projection")
    np.testing.assert_allclose(other.data[0].z, [[10, 50], [np.nan, 80]], rtol=1e-6)
    with pytest.raises(ValueError, match="did you mean 'projection'"):
        plots.sign_agreement_map(one, by="projections")


def test_pooled_shares_are_means_of_their_cells():
    from sadi_lens import plots
    from sadi_lens.plots._unit_map import BINS
    from sadi_lens.types.results import SignAgreement

    share = np.tile(np.arange(320, dtype=np.float32) / 320, (2, 1))
    share[0, 0] = np.nan
    share[1, :2] = np.nan
    one = SignAgreement("neuron", gallery.info(), 40, share, share, "hints")
    trace = plots.sign_agreement_map(one).data[0]
    z = np.asarray(trace.z)
    assert z.shape == (2, BINS)  # two neurons a cell
    np.testing.assert_allclose(z[0, :2], [100 / 320, 250 / 320], rtol=1e-5)
    assert np.isnan(z[1, 0])
    np.testing.assert_array_equal(np.asarray(trace.customdata)[0, 1], [2, 3])


# Pairs -------------------------------------------------------------------------------------------


def test_pairs_are_drawn_as_mean_and_band_of_their_subsets():
    from sadi_lens import plots

    curve = gallery.pairs_curves()["SADI head"]
    accuracy = np.tile(np.linspace(0.5, 0.9, 41, dtype=np.float32), (5, 1))
    accuracy[0, :10] = np.nan
    same = np.zeros((5, 41), dtype=np.float32)
    curve = replace(curve, accuracy=accuracy, margin=same, jaccard_all=same, jaccard_disjoint=same)
    figure = plots.pairs_ablation({"SADI <i>": curve})
    line = named(figure, "SADI &lt;i&gt; (K = 6, strength 5, signed)")
    np.testing.assert_array_equal(line.x, curve.sizes)
    np.testing.assert_allclose(line.y, [75, 70, 70, 70, 70], rtol=1e-5)
    # 2.5% and 97.5% of 50, 51, ..., 90; the first size has 60, ..., 90
    np.testing.assert_allclose(np.asarray(line.customdata)[1], [51, 89, 41], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(line.customdata)[0], [60.75, 89.25, 31], rtol=1e-5)
    assert "unsteered 64.0%" in [a.text for a in figure.layout.annotations]


def test_the_overlap_of_masks_from_fewer_pairs_stops_where_no_pair_is_left():
    from sadi_lens import plots

    curves = gallery.pairs_curves()
    figure = plots.pairs_ablation(curves, measure="jaccard_disjoint")
    line = named(figure, "SADI head")
    np.testing.assert_array_equal(line.x, [10, 25, 50])  # 100 and 150 have no disjoint halves
    assert any("chance 0.020" in a.text for a in figure.layout.annotations)
    with pytest.raises(ValueError, match=r"measure must be one of .* did you mean 'accuracy'"):
        plots.pairs_ablation(curves, measure="acuracy")
    with pytest.raises(ValueError, match="at least one curve, got 0"):
        plots.pairs_ablation({})
    none = replace(curves["SADI head"], accuracy=np.full((5, 20), np.nan, np.float32))
    with pytest.raises(ValueError, match="measure 'accuracy', needs at least one finite value"):
        plots.pairs_ablation({"x": none})
