"""The teaching grid: numbers, rings and slider are those of the arrays given."""

import numpy as np
import pytest

from sadi_lens.plots._words import MINUS

VALUES = np.array([[2.0, -1.0], [0.0, 0.5]])


@pytest.fixture(scope="module")
def dot_grid():
    from sadi_lens.plots import dot_grid

    return dot_grid


def test_each_panel_shows_its_numbers_at_their_layer_and_unit(dot_grid):
    figure = dot_grid({"A": VALUES, "B": -VALUES}, title="two panels")
    first, second = figure.data
    assert list(first.text) == ["2", "\u22121", "0", "0.5"]
    assert list(first.y) == [0, 0, 1, 1]
    assert list(first.marker.color) == [2.0, -1.0, 0.0, 0.5]
    assert list(second.marker.color) == [-2.0, 1.0, 0.0, -0.5]
    assert min(second.x) > max(first.x)
    # Area by magnitude: 2 is twice as wide as 0.5.
    assert first.marker.size[0] == pytest.approx(2 * first.marker.size[3])


@pytest.mark.parametrize(
    ("theme", "inks"),
    [
        ("light", ["#ffffff", "#ffffff", "#16181d", "#16181d"]),
        ("dark", ["#16181d", "#16181d", "#16181d", "#f1f3f5"]),
    ],
)
def test_a_number_is_readable_on_its_dot_and_beside_it(dot_grid, theme, inks):
    # The two largest are the darkest blue and red of a light page and the palest of a dark one; 1.3 lies on a middle
    # blue; the zero stands on the page.
    values = np.array([[2.0, -2.0, 1.3, -0.0]])
    (panel,) = dot_grid({"A": values}, title="one", theme=theme).data
    assert list(panel.text) == ["2", "\u22122", "1.3", "0"]
    assert list(panel.textfont.color) == inks
    assert panel.marker.opacity == 1


def test_a_mask_rings_its_units_in_every_panel(dot_grid):
    mask = np.array([[False, True], [True, False]])
    figure = dot_grid({"A": VALUES, "B": VALUES}, {"K = 2": mask}, title="ringed")
    ring = figure.data[-1]
    step = figure.data[1].x[0] - figure.data[0].x[0]
    assert sorted(zip(ring.x, ring.y, strict=True)) == [(0, 1), (1, 0), (step, 1), (1 + step, 0)]


def test_several_masks_make_a_slider_that_starts_at_the_one_shown(dot_grid):
    masks = {f"K = {k}": np.sort(VALUES, axis=None)[-k] <= VALUES for k in (1, 2, 3)}
    figure = dot_grid({"A": VALUES}, masks, title="slider", shown="K = 2")
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == list(masks)
    assert slider.active == 1
    assert [ring.visible for ring in figure.data[1:]] == [False, True, False]
    assert slider.steps[2].args[0]["visible"] == [True, False, False, True]


@pytest.mark.parametrize(
    ("panels", "masks", "shown", "message"),
    [
        ({"A": np.zeros((9, 9))}, None, None, "at most 64 dots a panel, got 9 x 9"),
        ({"A": VALUES, "B": np.zeros((3, 2))}, None, None, "one shape"),
        ({"A": VALUES}, {"K": np.zeros((3, 2), dtype=bool)}, None, "one shape"),
        ({"A": VALUES * np.nan}, None, None, "finite"),
        ({"A": VALUES}, {"K = 1": VALUES > 1}, "K = 2", "did you mean 'K = 1'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(dot_grid, panels, masks, shown, message):
    with pytest.raises(ValueError, match=message):
        dot_grid(panels, masks, title="", shown=shown)


def test_a_number_stands_in_its_dot_where_it_fits_and_above_it_elsewhere(dot_grid):
    """Dots are 40 pixels times the root of their share: 10 for 1 of 16, 20 for 4, 30 for 9; a digit takes about 8."""
    (trace,) = dot_grid({"a": np.array([[16.0, 1.0, 4.0], [-4.5, 0.0, -9.25]])}, title="x").data
    np.testing.assert_allclose(trace.marker.size, [40, 10, 20, 21.213203, 5, 30.413813])
    assert dict(zip(trace.text, trace.textposition, strict=True)) == {
        "16": "middle center",
        "1": "middle center",
        "4": "middle center",
        f"{MINUS}4.5": "top center",
        "0": "top center",
        f"{MINUS}9.25": "middle center",  # no room above
    }


def test_no_square_of_a_mask_crosses_a_number(dot_grid):
    """Dots of 40, 20, 20 and 11.5 pixels; a number above one ends about 15 pixels above the dot."""
    values, mask = [[6.0, 1.5, 1.5, 0.5]], np.array([[False, True, False, True]])
    dots, squares = dot_grid({"x": values}, {"M": mask}, title="x").data
    above = [place == "top center" for place in dots.textposition]
    assert above == [False, False, True, True]
    assert dots.marker.size[1] / 2 + 15 > squares.marker.size / 2 > dots.marker.size[3] / 2 + 15
