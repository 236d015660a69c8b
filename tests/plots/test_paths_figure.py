"""The figure of what scaled heads write."""

import pytest


@pytest.fixture
def table():
    import pandas as pd

    rows = [
        ("unsteered", 0.0, 0.0, 0.0),
        ("scaled", 2.0, 1.5, 2.5),
        ("direct", 0.5, 0.25, 0.75),
        ("rest", 1.5, 1.0, 2.0),
        ("direct, L1H2", 0.5, 0.25, 0.75),
        ("mean ablation", -1.0, -1.5, -0.5),
    ]
    found = pd.DataFrame(rows, columns=["edit", "margin", "low", "high"]).assign(accuracy=0.5, n=40)
    found.attrs = {
        "label": "SADI head, K 1, strength 5",
        "task": "hints",
        "model": "tiny",
        "split": "dev",
    }
    return found


def test_every_edit_is_a_dot_with_its_interval(table):
    from sadi_lens.plots import head_paths

    figure = head_paths(table)
    dots = {
        y: (x, low, high)
        for trace in figure.data
        for y, x, low, high in zip(
            trace.y, trace.x, trace.error_x.arrayminus, trace.error_x.array, strict=True
        )
    }
    assert dots["scaled"] == (2.0, 0.5, 0.5)
    assert dots["rest"] == (1.5, 0.5, 0.5)
    assert dots["mean ablation"] == (-1.0, 0.5, 0.5)
    assert "unsteered" not in dots
    assert len(dots) == 5
    assert figure.layout.yaxis.categoryarray[-1] == "scaled"
    text = figure.to_json()
    assert "The heads write +0.50 of +2.00 nats straight to the logits" in text
    with pytest.raises(ValueError, match="at least one edited row, got 0"):
        head_paths(table[:1])
    with pytest.raises(
        ValueError, match="must hold the edits scaled and direct; 'direct' is missing"
    ):
        head_paths(table[:2])
    with pytest.raises(ValueError, match="it lacks low"):
        head_paths(table.drop(columns="low"))


def test_the_caption_says_what_the_intervals_are_by(table):
    from sadi_lens.plots import head_paths

    assert "95% intervals, items independent" in head_paths(table).to_json()
    table.attrs["n_clusters"] = 12
    assert "95% intervals by 12 clusters" in head_paths(table).to_json()


@pytest.mark.parametrize(("low", "high"), [(-0.5, 4.5), (float("nan"), float("nan"))])
def test_a_change_that_may_be_none_has_no_share(table, low, high):
    from sadi_lens.plots import head_paths

    table.loc[table["edit"] == "scaled", ["low", "high"]] = (low, high)
    title = head_paths(table).layout.title.text
    assert title.startswith("The heads change the margin by +2.00 nats, not told from zero")
