"""The live explorer in a lesson: the widget where there is a kernel, its picture where there is none."""

import pytest


@pytest.fixture(scope="module")
def explorer():
    import sadi_lens as sl

    model, task = sl.models.planted_model(), sl.models.planted_task()
    differences = sl.activation_differences(model, task.pairs, progress=False)["head"]
    return sl.apps.SteeringExplorer(
        model, task, differences, ks=[1, 2], strengths=[1.0, 5.0], n_prompts=2
    )


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, in place of displaying it."""
    import IPython.display

    from sadi_lens.apps.lessons import live

    found = []
    monkeypatch.setattr(live, "show", found.append)
    monkeypatch.setattr(IPython.display, "display", found.append)
    return found


def test_without_a_kernel_a_figure_with_the_widgets_numbers_is_shown(explorer, shown, monkeypatch):
    import plotly.graph_objects as go

    from sadi_lens.apps.explorer.widget import LiveExplorer
    from sadi_lens.apps.lessons.live import explore

    monkeypatch.setenv("SADI_LENS_STATIC", "1")
    explore(explorer, k=2, strength=3.0)
    live = LiveExplorer(explorer)
    start = [list(trace.x) for trace in live.bars.data]
    live.k.value, live.strength.value = 2, 3.0
    (figure,) = shown
    assert type(figure) is go.Figure
    assert [list(trace.x) for trace in figure.data] == [list(trace.x) for trace in live.bars.data]
    assert [list(trace.x) for trace in figure.data] != start
    assert "K 2, strength 3" in figure.layout.title.text
    assert "<" not in figure.layout.title.subtitle.text


def test_with_a_kernel_the_widget_is_shown(explorer, shown, monkeypatch):
    import ipywidgets

    from sadi_lens.apps.lessons.live import explore

    monkeypatch.delenv("SADI_LENS_STATIC", raising=False)
    explore(explorer, k=2, strength=3.0)
    assert isinstance(shown[0], ipywidgets.VBox)
