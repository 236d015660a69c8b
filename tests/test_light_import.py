"""Importing and drawing must not load torch, TransformerLens or SciPy: that is where the seconds go."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "transformer_lens", "scipy", "pandas")


def run(code):
    check = f"import sys; found = [m for m in {HEAVY} if m in sys.modules]; assert not found, found"
    return subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=False
    )


def test_importing_sadi_lens_loads_nothing_heavy():
    done = run(
        "import sadi_lens; sadi_lens.Mask; sadi_lens.load_task; sadi_lens.plots; sadi_lens.load"
    )
    assert done.returncode == 0, done.stderr


def test_drawing_a_saved_run_loads_nothing_heavy(tmp_path, head_differences):
    import sadi_lens as sl
    from sadi_lens.types.store import write_json

    mask = sl.top_k_mask(head_differences, 3)
    path = write_json(
        {"differences": {"head": head_differences}, "masks": {"head": mask}},
        tmp_path / "results.json",
    )
    done = run(
        "from sadi_lens.types.store import read_json\n"
        "from sadi_lens.plots import demo_figures\n"
        f"figures = demo_figures(read_json({str(path)!r}))\n"
        "assert figures and all(figure.to_json() for figure in figures.values())"
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_resolves_and_unknown_ones_do_not():
    import pytest

    import sadi_lens as sl

    for name in sl.__all__:
        assert getattr(sl, name) is not None
    assert set(dir(sl)) == set(sl.__all__)
    with pytest.raises(AttributeError, match="No sadi_lens attribute HookedTransformer"):
        _ = sl.HookedTransformer


def test_what_breaks_while_a_name_is_loaded_is_said(tmp_path):
    """A script called as a module of Python (``numbers.py``) lies in front of it."""
    (tmp_path / "numbers.py").write_text("import sadi_lens\nsadi_lens.load_model\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "numbers.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "partially initialized module" in done.stderr, done.stderr
    assert "sadi_lens has no load_model" not in done.stderr
