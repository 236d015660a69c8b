"""The lessons as they are committed: executed, in order, without errors, small, with a picture for every figure."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "notebooks"
LESSONS = sorted(FOLDER.glob("*.ipynb"))
PLOTLY = "application/vnd.plotly.v1+json"
MAX_BYTES, MAX_HTML, MAX_CODE_LINES = 1_500_000, 50_000, 80


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request):
    import nbformat  # two seconds, in every worker if it stood above

    return request.param, nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def code_lines(notebook):
    """Lines that say something: not blank, not comments, not a lone bracket, not an exercise left open."""
    source = "\n".join(cell.source for cell in code_cells(notebook))
    lines = re.sub(r"def .*\n    return \.\.\..*|.*lessons\.check\(.*", "", source).splitlines()
    return [line for line in lines if re.search(r"\w", line.split("#")[0])]


def test_the_lessons_are_there():
    assert [path.name[:2] for path in LESSONS] == ["01", "02", "03", "04", "05", "06", "07"]


def test_the_file_is_a_valid_notebook_of_bounded_size(lesson):
    import nbformat

    path, notebook = lesson
    nbformat.validate(notebook)
    assert path.stat().st_size < MAX_BYTES


def test_it_was_executed_once_from_top_to_bottom_without_an_error(lesson):
    cells = code_cells(lesson[1])
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {(one.output_type, one.get("name")) for one in outputs(lesson[1])}
    assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}


def test_every_figure_is_there_as_a_picture_and_as_an_interactive_figure(lesson):
    forms = [set(one.data) for one in outputs(lesson[1]) if "data" in one]
    drawn = [form for form in forms if PLOTLY in form or "image/png" in form]
    assert drawn
    assert all({PLOTLY, "image/png"} <= form for form in drawn)


def test_no_figure_has_the_button_that_uploads_it(lesson):
    for one in outputs(lesson[1]):
        if PLOTLY in one.get("data", {}):
            assert "sendChartToCloud" in one.data[PLOTLY]["config"]["modeBarButtonsToRemove"]


def test_html_outputs_are_small_and_there_is_no_widget_state(lesson):
    assert "widgets" not in lesson[1].metadata
    for one in outputs(lesson[1]):
        assert "application/vnd.jupyter.widget-view+json" not in one.get("data", {})
        assert len(one.get("data", {}).get("text/html", "")) < MAX_HTML


def test_nothing_in_it_belongs_to_one_machine(lesson):
    text = lesson[0].read_text()
    assert not re.findall(r"(?:/home|/root|/tmp|/work|/Users|/var)/\w+|[A-Z]:\\\\", text)
    assert set(lesson[1].metadata) == {"kernelspec", "language_info"}
    for cell in lesson[1].cells:
        assert set(cell.metadata) <= {"tags", "jupyter"}


def test_the_code_is_short_because_functions_live_in_the_package(lesson):
    assert len(code_lines(lesson[1])) <= MAX_CODE_LINES


def test_its_parts_are_those_of_a_lesson(lesson):
    text = "\n".join(cell.source for cell in lesson[1].cells if cell.cell_type == "markdown")
    assert "**Why:**" in text
    assert "**Predict" in text
    assert "<details><summary>Answer</summary>" in text
    assert "## Exercise" in text
    assert "## What would prove this wrong?" in text
    tagged = [
        cell for cell in code_cells(lesson[1]) if "parameters" in cell.metadata.get("tags", ())
    ]
    assert len(tagged) == 1
    assert tagged[0] is code_cells(lesson[1])[0]
    name = "smollm2" if lesson[0].stem.startswith("07") else "tiny"
    assert f'MODEL = "{name}"' in tagged[0].source


def test_the_last_cell_asserts_what_the_text_claims(lesson):
    tree = ast.parse(code_cells(lesson[1])[-1].source)
    last = tree.body[-1].value
    assert ast.unparse(last.func) == "lessons.claims"
    assert len(last.args[1].keys) >= 2


def test_the_last_cell_and_what_would_spoil_a_prediction_are_folded(lesson):
    cells = code_cells(lesson[1])
    assert "hide-input" in cells[-1].metadata.tags
    assert cells[-1].metadata.jupyter.source_hidden
    folded = [cell for cell in cells if "hide-output" in cell.metadata.get("tags", ())]
    assert folded
    assert all(cell.metadata.jupyter.outputs_hidden for cell in folded)


def test_it_has_four_graded_exercises_left_open_with_a_hint_and_a_solution_that_passes(lesson):
    from sadi_lens.apps import lessons

    cells = lesson[1].cells
    found = [
        (before.source, *match)
        for before, cell in pairwise(cells)
        for match in re.findall(r'lessons\.check\("(\w+)", (\w+)\)', cell.source)
        if cell.cell_type == "code"
    ]
    assert len(found) >= 4
    source = "\n".join(cell.source for cell in code_cells(lesson[1]))
    for number, (text, name, function) in enumerate(found, 1):
        exercise = lessons.EXERCISES[name]
        assert exercise.signature.startswith(f"{function}(")
        assert f"def {exercise.signature}:\n    return ..." in source
        assert f"## Exercise {number}: " in text
        assert re.search(r"^\*(easy|medium|hard) · \d+ minutes\.\*", text, re.MULTILINE)
        assert "<details><summary>Hint</summary>" in text
        solution = re.search(
            r"<details><summary>Solution</summary>\n\n```python\n(.*?)```", text, re.DOTALL
        )
        written = {"np": np, "torch": torch}
        exec(solution[1], written)
        assert exercise.verdict(written[function]) == ""


def test_every_exercise_is_in_one_lesson():
    from sadi_lens.apps import lessons

    text = "".join(path.read_text() for path in LESSONS)
    assert [text.count(f'check(\\"{name}\\"') for name in lessons.EXERCISES] == [1] * len(
        lessons.EXERCISES
    )


def test_every_link_between_lessons_leads_somewhere(lesson):
    text = "\n".join(cell.source for cell in lesson[1].cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (FOLDER / target).exists(), target
