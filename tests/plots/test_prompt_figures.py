"""Figures of prompts, continuations and tokens: expected values from the definitions."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import gallery
import numpy as np
import pytest


def named(figure, part):
    return next(trace for trace in figure.data if part in str(trace.name))


def title(figure):
    return figure.layout.title.text.replace("<br>", " ")


def subtitle(figure):
    """The line below the title and the note below the figure."""
    notes = [one.text for one in figure.layout.annotations if one.name == "note"]
    return " · ".join([figure.layout.title.subtitle.text, *notes]).replace("<br>", " · ")


def shifts_of(before, after, **changes):
    from sadi_lens.types.results import ActivationShifts

    before, after = (np.array(one, dtype=np.float32) for one in (before, after))
    fields = {
        "model": gallery.info(),
        "component": "hidden",
        "layer": 2,
        "position": "last_prompt",
        "methods": tuple(f"method {i}" for i in range(len(after))),
        "kinds": ("adaptive", "fixed", "other")[: len(after)],
        "matched": "norm",
        "task": "hints",
    }
    return ActivationShifts(before=before, after=after, **{**fields, **changes})


BEFORE = [[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]]


# Arrows ---------------------------------------------------------------------------------------


def test_arrows_run_from_before_to_after_and_state_how_parallel_they_are():
    from sadi_lens import plots

    before = np.array(BEFORE)
    doubled, shifted = 2 * before, before + np.array([0, 2, 0])
    figure = plots.steering_arrows(shifts_of(before, [doubled, shifted]))
    lines = [t for t in figure.data if t.mode == "lines+markers"]
    for line in lines:
        tails = np.stack([line.x[0::3], line.y[0::3]], axis=1).astype(float)
        heads = np.stack([line.x[1::3], line.y[1::3]], axis=1).astype(float)
        assert np.isnan(np.asarray(line.x[2::3], dtype=float)).all()
        lengths = np.linalg.norm(heads - tails, axis=1)
        # All states lie in one plane, so lengths in it are lengths in space.
        np.testing.assert_allclose(
            lengths, [3, 3, 1, 1] if line is lines[0] else [2] * 4, rtol=1e-6
        )
    texts = [a.text for a in figure.layout.annotations]
    assert "cosine to the mean not defined" in texts[0]  # opposite shifts: their mean is 0
    assert texts[1].endswith("cosine to the mean 1.00, length 2")
    assert texts[0].endswith(", length 2")
    assert title(figure) == (
        "Adaptive scaling pushed prompts in opposite ways, a fixed vector every prompt the same way"
    )
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
    assert figure.layout.yaxis.range == figure.layout.yaxis2.range
    assert "methods matched in norm" in subtitle(figure)
    assert "layer 2, hook_resid_post at the last prompt token" in subtitle(figure)
    assert "matched over all layers" in subtitle(figure)


@pytest.mark.parametrize(
    ("cosine", "words"),
    [
        (0.3, "each prompt its own way"),
        (0.6, "prompts in related directions"),
        (0.9, "most prompts much alike"),
        (1.0, "every prompt the same way"),
    ],
)
def test_the_title_says_as_much_as_the_arrows_show(cosine, words):
    from sadi_lens import plots

    before, sine = np.array(BEFORE[:2]), np.sqrt(1 - cosine**2)
    after = before + np.array([[cosine, sine, 0], [cosine, -sine, 0]])
    figure = plots.steering_arrows(shifts_of(before, [after]))
    assert title(figure) == f"Adaptive scaling pushed {words}"


def test_unmatched_methods_are_said_to_be_unmatched():
    from sadi_lens import plots

    figure = plots.steering_arrows(shifts_of(BEFORE, [2 * np.array(BEFORE)], matched=""))
    assert "methods not matched in size" in subtitle(figure)
    assert "over all layers" not in subtitle(figure)


def test_one_pixel_is_as_long_upwards_as_sideways():
    from sadi_lens import plots

    for scale in ((1, 1, 1), (20, 1, 1), (1, 1, 30)):
        before = np.array(BEFORE) * scale
        figure = plots.steering_arrows(
            shifts_of(before, [2 * before, before + np.array([0, 2, 0])])
        )
        layout = figure.layout
        wide = layout.width - layout.margin.l - layout.margin.r
        high = layout.height - layout.margin.t - layout.margin.b
        for x, y in ((layout.xaxis, layout.yaxis), (layout.xaxis2, layout.yaxis2)):
            across = (x.range[1] - x.range[0]) / (wide * (x.domain[1] - x.domain[0]))
            assert (y.range[1] - y.range[0]) / high == pytest.approx(across, rel=0.01)
            assert (
                y.scaleanchor == f"x{(layout.yaxis2 is y and 2) or ''}"
            )  # and stays so when zoomed


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_the_plane_is_that_of_the_longest_arrows(shape):
    from sadi_lens.plots._plane import project

    rng = np.random.default_rng(0)
    states = rng.standard_normal(shape).astype(np.float32)
    moves = rng.standard_normal(shape).astype(np.float32)
    plane = project(states, (states + moves)[None])
    left, values, _ = np.linalg.svd(moves, full_matrices=False)
    shown = plane.after[0] - plane.before
    np.testing.assert_allclose(np.abs(shown), np.abs((left * values)[:, :2]), rtol=1e-3, atol=1e-4)
    assert plane.share == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), rel=1e-4)


def test_the_share_of_the_plane_counts_arrows_at_their_own_length():
    """A short method fills many directions, a long one two of them: in all, two hold nearly everything."""
    from sadi_lens.plots._plane import project

    rng = np.random.default_rng(0)
    before = rng.standard_normal((30, 12)).astype(np.float32)
    long, short = np.zeros_like(before), 0.1 * rng.standard_normal(before.shape).astype(np.float32)
    long[:, :2] = 10 * rng.standard_normal((30, 2))
    plane = project(before, np.stack([before + long, before + short]))
    shown = plane.after - plane.before
    assert plane.share == pytest.approx((shown**2).sum() / (long**2 + short**2).sum(), rel=1e-3)
    assert plane.share > 0.99


def test_arrows_along_one_line_leave_the_other_direction_to_the_states():
    from sadi_lens.plots._plane import project

    before = np.array([[0, 0, 5.0], [0, 0, -5], [0, 0.1, 0]], dtype=np.float32)
    plane = project(before, (before + np.float32([1, 0, 0]))[None])
    np.testing.assert_allclose(plane.after[0] - plane.before, [[1, 0]] * 3, atol=1e-6)
    np.testing.assert_allclose(plane.before[:, 1], [5, -5, 0], atol=0.01)
    assert plane.share == pytest.approx(1)


def test_states_that_are_not_finite_or_too_few_are_refused():
    from sadi_lens import plots

    with pytest.raises(ValueError, match="at least 2 items and 1 method, got 1 and 1"):
        plots.steering_arrows(shifts_of(BEFORE[:1], [BEFORE[:1]]))
    broken = np.array(BEFORE)
    broken[1, 2] = np.inf
    with pytest.raises(ValueError, match="1 of 4 items of 'method 0' are not; lower the strength"):
        plots.steering_arrows(shifts_of(BEFORE, [broken]))
    with pytest.raises(
        ValueError, match=r"after of ActivationShifts must be .* = \[2, 4, 3\], got \[1, 4, 3\]"
    ):
        shifts_of(BEFORE, [BEFORE], methods=("a", "b"))
    with pytest.raises(ValueError, match="one kind a method: 1, got 2"):
        shifts_of(BEFORE, [BEFORE], kinds=("adaptive", "fixed"))
    with pytest.raises(ValueError, match="prompts must be empty or one an item: 4, got 1"):
        shifts_of(BEFORE, [BEFORE], prompts=("x",))


def test_states_that_do_not_move_still_draw():
    from sadi_lens import plots

    same = np.zeros((4, 3))
    figure = plots.steering_arrows(shifts_of(same, [same]))
    assert "not defined" in figure.layout.annotations[0].text


# Item by item ------------------------------------------------------------------------------------


def evaluation(margins, label="x", items="same"):
    import sadi_lens as sl

    margins = np.array(margins, dtype=np.float32)
    n = margins.size
    return sl.types.Evaluation(
        label, gallery.info(), "hints", "test", "last_prompt", "sum", margins > 0, margins,
        np.ones(n, bool), np.zeros((n, 2), np.float32), items,
    )  # fmt: skip


def test_effects_are_changes_of_margin_sorted_into_quarters():
    from sadi_lens import plots

    base = evaluation([0, 0, 0, -1, np.nan])
    up = evaluation([1, 2, -1, 0.5, 1], "SADI")
    right = evaluation([0.5, -1, 1, -2, 1], "fixed")
    figure = plots.example_effects(base, up, right, prompts=["a", "<b>", "c", "d", "e"])
    good, bad = named(figure, "right when adaptive (3)"), named(figure, "wrong when adaptive (1)")
    np.testing.assert_allclose(good.y, [1, 2, 1.5])
    np.testing.assert_allclose(good.x, [0.5, -1, -1])
    np.testing.assert_allclose(bad.y, [-1])
    assert [row[0] for row in good.customdata] == ["a", "&lt;b&gt;", "d"]
    assert [float(v) for v in good.customdata[2][1:]] == [-1, 0.5, -2]
    texts = [a.text for a in figure.layout.annotations if a.name != "note"]
    assert texts == [
        "only adaptive helps: 2",
        "both help: 1",
        "both hurt: 0",
        "only fixed helps: 1",
    ]
    # 3 of 4 items do not tell.
    assert title(figure) == "Neither rule does more: adaptive is ahead on 3 of 4 items, fixed on 1"
    (x_low, x_high), (y_low, y_high) = figure.layout.xaxis.range, figure.layout.yaxis.range
    assert x_high - x_low == pytest.approx(y_high - y_low)
    assert "1 item without a margin left out" in subtitle(figure)


def test_the_rule_that_does_more_on_more_items_is_named():
    from sadi_lens import plots

    base, more, less = evaluation(np.zeros(20)), evaluation(np.ones(20)), evaluation(-np.ones(20))
    said = "steering does more for the right answer on 100.0% of 20 items"
    assert title(plots.example_effects(base, more, less)) == f"Adaptive {said}"
    assert title(plots.example_effects(base, less, more)) == f"Fixed {said}"
    assert title(plots.example_effects(base, base, base)).startswith("Neither rule does more")


def test_the_rule_that_does_more_is_told_by_cluster():
    """12 items of 3 texts all say the same: three coin flips, not twelve."""
    from sadi_lens import plots

    base, more, less = evaluation(np.zeros(12)), evaluation(np.ones(12)), evaluation(-np.ones(12))
    assert title(plots.example_effects(base, more, less)).startswith("Adaptive steering does more")
    shared = replace(base, clusters=np.arange(12) // 4)
    assert title(plots.example_effects(shared, more, less)) == (
        "Neither rule does more: adaptive is ahead on 12 of 12 items, fixed on 0"
    )


def test_a_rule_that_does_more_needs_the_interval_as_well_as_the_test():
    """5 of 10 texts: p = 2 / 2**5 / 2 = .031, but Student's interval at 9 degrees of freedom holds 0."""
    from sadi_lens import plots

    base = replace(evaluation(np.zeros(20)), clusters=np.arange(20) // 2)
    more = evaluation(np.repeat([1.0, 0.0], 10))
    assert title(plots.example_effects(base, more, evaluation(np.zeros(20)))) == (
        "Neither rule does more: adaptive is ahead on 10 of 20 items, fixed on 0"
    )


def test_effects_of_other_items_are_refused():
    from sadi_lens import plots

    base = evaluation([0, 1])
    with pytest.raises(ValueError, match="needs the same items on the same model: 'y' has 2"):
        plots.example_effects(base, base, evaluation([0, 1], "y", items="others"))
    with pytest.raises(ValueError, match="prompts must be one an item: 2, got 1"):
        plots.example_effects(base, base, base, prompts=["a"])
    text = evaluation([np.nan, np.nan])
    with pytest.raises(ValueError, match="free text has none"):
        plots.example_effects(text, text, text)


# Generation trace --------------------------------------------------------------------------------


def test_the_trace_keeps_equal_tokens_apart_and_shows_their_spaces():
    from sadi_lens import plots

    trace = gallery.trace(words=[" ha", " ha", "\n", "<b>"])
    figure = plots.generation_trace(trace)
    n = len(trace.tokens)
    assert list(figure.layout.xaxis.tickvals) == list(range(n))
    assert set(figure.layout.xaxis.ticktext) <= {"·ha", "↵", "&lt;b&gt;"}
    plain, steered, kl, edit = figure.data
    np.testing.assert_array_equal(plain.y, trace.logp_unsteered)
    np.testing.assert_array_equal(steered.y, trace.logp)
    np.testing.assert_array_equal(kl.y, trace.kl)
    np.testing.assert_array_equal(edit.z, trace.edit_norm)
    assert list(edit.y or range(5))  # layers by index, layer 0 on top
    assert figure.layout.yaxis3.range[0] > figure.layout.yaxis3.range[1]
    most = int(np.argmax(trace.kl))
    assert f"most at token {most} (" in title(figure)


def test_an_unsteered_trace_and_a_trace_without_tokens():
    from sadi_lens import plots

    assert title(plots.generation_trace(gallery.trace(kind="unsteered"))) == (
        "Steering changes nothing at any token"
    )
    one = gallery.trace()
    none = np.zeros(0, np.float32)
    empty = replace(
        one,
        tokens=(),
        logp=none,
        logp_unsteered=none,
        kl=none,
        edit_norm=np.zeros((5, 0), np.float32),
    )
    with pytest.raises(ValueError, match="at least one token, got 0"):
        plots.generation_trace(empty)
    with pytest.raises(
        ValueError, match=r"logp_unsteered of GenerationTrace must be .*\[1\], got \[12\]"
    ):
        replace(one, tokens=("a",))


def test_a_long_trace_is_cut_and_says_so():
    from sadi_lens import plots

    one = gallery.trace()
    n = 1000
    values = -np.ones(n, np.float32)
    long = replace(
        one, tokens=(" a",) * n, logp=values, logp_unsteered=values, kl=-values,
        edit_norm=np.ones((5, n), np.float32),
    )  # fmt: skip
    figure = plots.generation_trace(long)
    assert len(figure.data[0].x) == 400
    assert "the first 400 of 1,000 tokens" in subtitle(figure)


# Tokens ------------------------------------------------------------------------------------------


def test_the_strip_marks_what_is_read_and_what_is_steered():
    from sadi_lens import plots
    from sadi_lens.types.results import TokenRoles

    one = TokenRoles(gallery.info(), "a <text>", ("<s>", " a", " a", "\n", ""), 3, (4,), (2,))
    figure = plots.token_strip(one)
    text = next(t for t in figure.data if t.mode == "text")
    assert list(text.text) == ["&lt;s&gt;", "·a", "·a", "↵", "∅"]
    assert [row[1] for row in text.customdata] == [
        "prompt", "prompt", "prompt, steered", "answer", "answer, read",
    ]  # fmt: skip
    assert "a &lt;text&gt; (5 tokens: 1 read, 1 token steered)" in figure.layout.annotations[0].text
    # One closed box of five corners and a gap a token, in the layers: all, answer, steered, read.
    boxes = [t for t in figure.data if t.mode == "lines"]
    assert [len(t.x) // 6 for t in boxes] == [5, 2, 1, 1]
    steered, read = boxes[2], boxes[3]
    centre = list(text.x)
    assert steered.x[0] < centre[2] < steered.x[1]
    assert read.x[0] < centre[4] < read.x[1]


def test_long_runs_of_one_role_are_folded_and_both_ends_kept():
    from sadi_lens import plots

    one = gallery.roles("7b")[0]
    figure = plots.token_strip(one)
    text = next(t for t in figure.data if t.mode == "text")
    # 443 tokens of the prompt are neither read nor steered: 20 at each end; then the steered and the read one.
    assert [row[0] for row in text.customdata] == [*range(20), -1, *range(423, 445)]
    assert text.text[20] == "… 403 more …"
    assert text.customdata[20][1] == "as the tokens on both sides"
    assert title(figure) == "Read: 1 of 445 tokens; steered: 1 of 445 tokens"
    assert len(set(text.y)) == 3
    boxes = next(t for t in figure.data if t.mode == "lines")
    assert np.nanmax(np.asarray(boxes.x, dtype=float)) <= figure.layout.xaxis.range[1]


def test_roles_outside_of_the_text_are_refused():
    from sadi_lens import plots
    from sadi_lens.types.results import TokenRoles

    with pytest.raises(ValueError, match=r"steered must be in \[0, 1\], got 2"):
        TokenRoles(gallery.info(), "x", ("a", "b"), 1, (1,), (2,))
    with pytest.raises(ValueError, match=r"prompt_length must be in \[1, 2\], got 0"):
        TokenRoles(gallery.info(), "x", ("a", "b"), 0, (1,), (1,))
    with pytest.raises(ValueError, match="tokens must not be empty"):
        TokenRoles(gallery.info(), "x", (), 1, (), ())
    with pytest.raises(ValueError, match="at least one text, got 0"):
        plots.token_strip([])


class Reader(HTMLParser):
    """Tags that are not the table's own, and what a reader sees."""

    def __init__(self):
        super().__init__()
        self.tags, self.words, self.tokens = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "i":
            self.tokens.append(dict(attrs))

    def handle_data(self, data):
        self.words.append(data)


def test_texts_side_by_side_show_markup_as_text():
    from sadi_lens import plots

    first = gallery.trace(kind="unsteered")
    evil = replace(gallery.trace(), label="<img src=x>", tokens=('"><script>',) * 12)
    reader = Reader()
    reader.feed(plots.compare_text([first, evil]).html)
    assert set(reader.tags) <= {"div", "style", "table", "caption", "tr", "th", "td", "i"}
    assert "<img src=x>" in reader.words
    assert reader.words.count('"><script>') == 12
    assert gallery.UNSAFE in "".join(reader.words)


def test_tokens_say_their_change_and_whether_they_are_new():
    from sadi_lens import plots

    one = gallery.trace()
    base = replace(one, tokens=(" a", " b", " c"), logp_unsteered=np.float32([-1, -1, -1]),
                   logp=np.float32([-1, -1, -1]), kl=np.zeros(3, np.float32),
                   edit_norm=np.zeros((5, 3), np.float32), label="first")  # fmt: skip
    other = replace(
        base, tokens=(" a", " x", " c"), logp=np.float32([-4, -0.4, -1.01]), label="other"
    )
    reader = Reader()
    found = plots.compare_text([base, other])
    reader.feed(found.html)
    a, x, c = reader.tokens[-3:]
    assert a["class"] == "down"
    assert "0.55" in a["style"]  # 3 nats: full
    assert x["class"] == "new up"
    assert "log p \u22120.40, steered \u2212 unsteered +0.60 nats, differs" in x["title"]
    assert "class" not in c  # 0.01 nats is no change
    assert all(token["tabindex"] == "0" and token["aria-label"] for token in (a, x, c))
    assert "other:  a x c" in str(found)
    assert not re.search(r"color-scheme|CanvasText|https?:", found.html)
    assert html.escape("tiny") in found.html


def test_texts_of_other_prompts_are_refused():
    from sadi_lens import plots

    with pytest.raises(ValueError, match="traces of one prompt and model: 'adaptive"):
        plots.compare_text(
            [gallery.trace(kind="unsteered"), replace(gallery.trace(), prompt="other")]
        )
    with pytest.raises(ValueError, match="at least one trace, got 0"):
        plots.compare_text([])


# Side effects ------------------------------------------------------------------------------------


def test_the_cost_of_a_gain_is_drawn_per_method():
    from sadi_lens import plots

    curves = gallery.side_effect_curves()
    figure = plots.side_effect_curve(curves)
    line = named(figure, "SADI head, K 4")
    np.testing.assert_allclose(line.y, 100 * curves[0].accuracy)
    np.testing.assert_allclose(line.x, curves[0].kl)
    assert list(line.text) == ["1", "2", "5", "10", "20", "40"]
    assert figure.layout.xaxis.type == "log"
    (base,) = [a for a in figure.layout.annotations if a.text == "unsteered 64.0%"]
    assert (base.x, base.xanchor) == (1, "left")  # beside the plot: within it, bars run through it
    assert len({t.line.dash for t in figure.data}) == 3


def test_no_change_at_all_has_its_place_on_a_log_axis():
    from sadi_lens import plots

    one = gallery.side_effect_curves()[0]
    kl = one.kl.copy()
    kl[0] = 0
    figure = plots.side_effect_curve([replace(one, kl=kl)])
    line = figure.data[0]
    assert 0 < line.x[0] < kl[1]
    assert line.customdata[0][3] == 0
    assert "no change at all is drawn at the left edge" in subtitle(figure)


def test_rows_of_a_comparison_are_points_with_their_names():
    from sadi_lens import plots
    from sadi_lens.types.results import SideEffects

    whole = gallery.comparison()
    effects = SideEffects(0.02, 1.1, 0, 2, 5, 100, "every_step")
    rows = (*whole.rows[:1], replace(whole.rows[1], side_effects=effects), *whole.rows[2:])
    assert "side_effects" not in plots.demo_figures({"comparison": whole})
    figure = plots.demo_figures({"comparison": replace(whole, rows=rows)})["side_effects"]
    (point,) = figure.data
    assert (point.x[0], point.y[0]) == (pytest.approx(0.02), pytest.approx(91.4))
    assert "SADI head (signed ranking)" in {one.text for one in figure.layout.annotations}
    assert "position every_step" in subtitle(figure)
    assert title(figure) == (
        "Best gain and its cost: SADI head (signed ranking) +18.3 points at KL 0.02"
    )


def test_a_gain_that_may_be_none_says_so_and_a_best_of_many_that_it_was_chosen():
    from sadi_lens import plots

    (curve, *_) = gallery.side_effect_curves()
    best = int(curve.accuracy.argmax())
    assert curve.accuracy[best] > curve.unsteered_accuracy
    assert "not told" not in title(plots.side_effect_curve([curve]))
    for sign in (1, 0, -1):
        moved = np.zeros(len(curve.strengths), dtype=int)
        moved[best] = sign
        figure = plots.side_effect_curve([replace(curve, moved=moved)])
        assert title(figure).endswith(" (not told from zero)") == (sign < 1)
    assert "best: of the strengths, on these same items" in figure.to_json()


def test_a_point_as_good_as_the_unsteered_model_gains_nothing():
    from sadi_lens import plots
    from sadi_lens.types.results import SideEffects
    from sadi_lens.types.stats import Interval

    whole = gallery.comparison()
    base, one, *_ = whole.rows
    effects = SideEffects(0.1, 1.1, 0, 2, 5, 100, "every_step")
    same = {"accuracy": 0.6, "interval": Interval(0.5, 0.7)}  # 0.6 in float32 is larger
    rows = (replace(base, **same), replace(one, label="SADI", side_effects=effects, **same))
    figure = plots.demo_figures({"comparison": replace(whole, rows=rows)})["side_effects"]
    assert title(figure) == "Best gain and its cost: SADI no gain"


def test_a_divergence_that_is_not_known_is_not_none():
    from sadi_lens import plots

    trace = gallery.trace()
    kl = np.zeros_like(trace.kl)
    assert title(plots.generation_trace(replace(trace, kl=kl))) == (
        "Steering changes nothing at any token"
    )
    kl[0] = np.nan
    assert title(plots.generation_trace(replace(trace, kl=kl))) == (
        f"Steering changes nothing at any token that it is known at ({kl.size - 1} of {kl.size})"
    )
    kl[1:] = np.inf
    assert title(plots.generation_trace(replace(trace, kl=kl))).endswith(f"(0 of {kl.size})")


def test_curves_of_other_items_or_without_a_point_are_refused():
    from sadi_lens import plots

    one, two, _ = gallery.side_effect_curves()
    with pytest.raises(ValueError, match="at least one curve, got 0"):
        plots.side_effect_curve([])
    with pytest.raises(ValueError, match=r"same items for every curve, .*'SADI head, K 4': 400 of"):
        plots.side_effect_curve([one, replace(two, n=3)])
    with pytest.raises(ValueError, match="'SADI head, K 4' needs at least one finite point"):
        plots.side_effect_curve([replace(one, kl=np.full(6, np.nan, np.float32))])
    with pytest.raises(ValueError, match=r"accuracy of SideEffectCurve must be .*\[1\], got \[6\]"):
        replace(one, strengths=(1.0,))
