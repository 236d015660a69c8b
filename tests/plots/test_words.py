"""Text that is drawn: shown as it is, never read as markup or a template, as wide as there is room."""

import pytest


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("<b>a</b>", "&lt;b&gt;a&lt;/b&gt;"),
        ("a &lt; b", "a &amp;lt; b"),
        ("$x$", "&#36;x&#36;"),
        ("%{x:.1f} %{meta.note}", "&#37;{x:.1f} &#37;{meta.note}"),
        ("100 %", "100 %"),
        ("bell\x07esc\x1b[0m", "bell□esc□[0m"),
        ("\u202eesrever", "□esrever"),
        ("lone \ud800", "lone □"),
        ("two\nlines\t", "two lines"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_text_is_shown_as_it_is_and_what_cannot_be_drawn_as_a_box(text, drawn):
    from sadi_lens.plots._words import escape

    assert escape(text) == drawn


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("中文", 4), ("\uff41\uff42", 4), ("e\u0301", 1), ("😀", 2), ("עם", 2)],
)
def test_a_wide_character_takes_two_columns(text, columns):
    from sadi_lens.plots._words import n_columns

    assert n_columns(text) == columns


def test_a_long_text_is_cut_to_its_columns_and_says_so():
    from sadi_lens.plots._words import cut, name_text

    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    assert cut("中文標籤", 6) == "中文…"  # two columns each, and one for the sign
    assert name_text(" \n ") == "(unnamed)"


def test_lines_of_wide_characters_are_as_short_as_their_pixels():
    from sadi_lens.plots._words import n_columns, wrap

    lines = wrap("中文標籤很長的一個名字" * 4, 200, 10)  # 33 columns
    assert "".join(lines) == "中文標籤很長的一個名字" * 4
    assert all(n_columns(line) <= 34 for line in lines)


def test_words_wider_than_a_figure_are_cut_there_and_whole_in_its_note():
    import plotly.graph_objects as go

    from sadi_lens.plots._layout import Margin, finish
    from sadi_lens.plots._theme import require_theme

    label, fact = "a very long name " * 20, "task " + "t" * 300
    figure = go.Figure()
    for end in "ab":
        figure.add_scatter(x=[1], y=[1], name=label + end, showlegend=True)
    finish(
        figure, require_theme("light"), title="word " * 200, facts=(fact, "n"), plot=(400, 100), margin=Margin()
    )  # fmt: skip
    names = [trace.name for trace in figure.data]
    assert names[0] != names[1]
    assert all(name.startswith("a very long name") and "…" in name for name in names)
    assert all(
        len(name) * 6.48 + 48 <= 460 for name in names
    )  # 12 pixels a letter, 0.54 of it wide
    note = figure.layout.meta["note"]
    assert (label + "a") in note
    assert (label + "b") in note
    assert fact in note
    assert len(figure.layout.title.subtitle.text) * 7.2 < 560
    assert figure.layout.title.text.count("<br>") == 4
    assert figure.layout.title.text.endswith("…")
