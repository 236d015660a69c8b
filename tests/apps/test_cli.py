"""Options and small commands of the command line."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner


def invoke(*arguments):
    from sadi_lens.apps.cli import app

    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_tasks_and_methods_are_listed_and_the_version_printed():
    from importlib.metadata import version

    import sadi_lens as sl
    from sadi_lens.measure.methods import METHODS

    tasks = invoke("tasks").output
    hints = sl.load_task("hints")
    (line,) = [one for one in tasks.splitlines() if one.startswith("│ hints ")]
    for split in ("pairs", "dev", "test"):
        assert f" {len(getattr(hints, split))} " in line
    assert all(name in tasks for name in ("suggest", *sl.tasks.BENCHMARKS))
    methods = invoke("methods").output
    assert all(name in methods for name in METHODS)
    assert invoke("--version").output.strip() == f"sadi_lens {version('sadi_lens')}"


@pytest.mark.parametrize("name", ["hints", "recall", "suggest"])
def test_a_task_that_is_written_is_read_again(name, tmp_path):
    import sadi_lens as sl

    out = tmp_path / "mine.jsonl"
    done = invoke("task", name, "--out", out, "--sizes", "7,8,9")
    assert done.exit_code == 0, done.output
    again, task = sl.load_task(out, space=False), sl.load_task(name)
    assert (again.pairs, again.dev, again.test) == (task.pairs[:7], task.dev[:8], task.test[:9])
    held = out.read_text()
    assert invoke("task", name, "--out", out).exit_code == 1
    assert out.read_text() == held


def test_a_demo_runs_on_a_file_goes_on_where_it_stopped_and_draws_no_bars(tmp_path, monkeypatch):
    import sadi_lens.measure.evaluation as module
    from sadi_lens.types.store import read_json

    data, out = tmp_path / "mine.jsonl", tmp_path / "out"
    invoke("task", "hints", "--out", data, "--sizes", "12,10,14")
    command = ["demo", "--data", data, "--out", out, "--no-png", "--n-null", 20]
    real, calls = module._by_choices, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, "_by_choices", stopping)
    first = invoke(*command)
    assert first.exit_code == 130
    monkeypatch.setattr(module, "_by_choices", real)
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    # tqdm reads TQDM_DISABLE when it is imported, here before the command: the loading bar of transformers is left.
    output = first.output + done.output
    assert output.count("%|") == output.count("Loading weights")
    assert "sweep:" not in output
    assert "test:" not in output.replace("test: every choice once", "")
    steps = [line for line in done.output.splitlines() if " of 7 " in line]
    assert [line.split()[0] for line in steps] == [str(n) for n in range(1, 8)]
    settings = read_json(out / "results.json")["settings"]
    assert (settings["n_pairs"], settings["n_dev"], settings["n_test"]) == (12, 10, 14)
    whole = (out / "results.json").read_bytes()
    monkeypatch.setattr(module, "_by_choices", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr("sadi_lens.apps.demo.forecast", lambda *_, **__: 0.0)
    again = invoke(*command)
    assert again.exit_code == 0
    held = len(list((out / "steps").iterdir()))
    assert f"holds {held} finished steps of an earlier run" in " ".join(again.output.split())
    assert "of an earlier run" not in first.output
    assert (out / "results.json").read_bytes() == whole


def test_a_forecast_leaves_out_what_is_looked_at_once(monkeypatch):
    """A clock that only passes move: 2 s an item, 0.1 s a cell of it, and 9 s when cells are first run."""
    from dataclasses import replace
    from types import SimpleNamespace

    import sadi_lens as sl
    from sadi_lens.apps import demo_steps
    from sadi_lens.measure.calls import Settings

    now, seen = [0.0], []

    def passes(_model, samples, interventions, *_, **__):
        n_cells = len(interventions) - 1
        now[0] += len(samples) * (2 + 0.1 * n_cells) + 9 * (n_cells > 0 and not any(seen))
        seen.append(n_cells)

    monkeypatch.setattr(demo_steps, "evaluate_all", passes)
    monkeypatch.setattr(demo_steps, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    whole = sl.load_task("hints")
    task = replace(whole, pairs=whole.pairs[:10], dev=whole.dev[:8], test=whole.test[:6])
    found = demo_steps.forecast(
        sl.load_model("tiny"), task, "head", Settings(), sweeps=3, cells=5, tests=7, tuned=11
    )
    # 8 prompts' worth a pair, 3 sweeps of dev, 3 passes over test; cells of sweeps, of the null on dev, and of test.
    assert found == pytest.approx(2 * (8 * 10 + 3 * 8 + 3 * 6) + 0.1 * ((15 + 11) * 8 + 7 * 6))


def test_a_comparison_goes_on_where_it_stopped_and_its_seconds_are_those_it_took(
    tmp_path, monkeypatch
):
    from sadi_lens.measure import calls
    from sadi_lens.measure import evaluation as module
    from sadi_lens.types.store import read_json

    words = ["compare", "--methods", "sadi-head,caa,random", "--sizes", "12,10,14", "--no-png"]
    words += ["--n-null", "20", "--budget", "12"]
    real, clock, stop = module._by_choices, [0.0], [0.0]

    def timed(*args):
        clock[0] += 1.0
        if clock[0] == stop[0]:
            raise KeyboardInterrupt
        return real(*args)

    def run(name):
        done = invoke(*words, "--out", tmp_path / name)
        if done.exit_code:
            return done.exit_code
        found = read_json(tmp_path / name / "results.json")["comparison"]
        # What a choice takes for an item is measured, whatever is kept.
        rows = [
            replace(one, seconds=0.0, choice_seconds=round(one.choice_seconds, 6))
            for one in found.rows
        ]
        return replace(found, rows=tuple(rows))

    monkeypatch.setattr(module, "_by_choices", timed)
    monkeypatch.setattr(calls.time, "process_time", lambda: clock[0])
    whole = run("whole")
    assert [one.choice_seconds for one in whole.rows] == [1.0, 1.0, 1.0, 1.0]
    stop[0] = clock[0] + 4
    assert run("stopped") == 130
    assert run("stopped") == whole
    assert run("whole") == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--data", "nowhere.jsonl"], "data 'nowhere.jsonl' does not exist"),
        (["demo", "--sizes", "10,10"], "sizes must be three numbers of at least 1"),
        (["compare", "--sizes", "10,10,0"], "sizes must be three numbers of at least 1"),
        (["explorer", "--position", "last"], "position must be one of"),
        (["explorer", "--writing", "hints"], "'hints' lacks them"),
        (["demo", "--scoring", "sums"], "scoring must be one of"),
        (["demo", "--task", "suggest"], "hints is its like of suggest"),
        (["demo", "--n-null", "0"], "n_null must be at least"),
        (["run", "table4", "--shard", "3"], "shard must be 'auto', 'I/N' or two numbers, got '3'"),
        (["demo", "--chat-template"], "has no chat template"),
        (["demo", "--task", "hints", "--data", "."], "takes the name of a benchmark"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments)
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("results", "in_a_figure", "in_a_report"),
    [
        ({"note": "kept"}, "no part that a figure shows, got 'note'", "got ['note']"),
        ({"comparison": None}, "no part that a figure shows", "['comparison'], all of them empty"),
        ({"masks": {}, "finding": ""}, "no part that a figure shows", "all of them empty"),
    ],
)
def test_results_of_nothing_are_refused_and_nothing_is_written(
    results, in_a_figure, in_a_report, tmp_path
):
    from sadi_lens.types.store import write_json

    held = write_json(results, tmp_path / "results.json")
    for command, message in (("figures", in_a_figure), ("report", in_a_report)):
        done = invoke(command, held)
        assert done.exit_code == 1
        assert message in " ".join(done.output.split())
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"]


def test_a_missing_file_is_named_without_a_number_of_the_system(tmp_path):
    done = invoke("compare", "--neutral", tmp_path / "none.txt", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "".join(done.output.split()) == f"error:{tmp_path}/none.txt:Nosuchfileordirectory"


def test_neutral_texts_of_an_empty_file_are_refused(tmp_path):
    texts = tmp_path / "neutral.txt"
    texts.write_text("\n  \n")
    done = invoke("compare", "--neutral", texts, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "neutral.txt is empty or holds blank lines alone" in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--model", "--data"])
def test_a_mistyped_path_is_refused_before_torch_is_imported(option):
    code = (
        "import sys\n"
        "from sadi_lens.apps.cli import app\n"
        f"try: app(['demo', {option!r}, './no/such/place.jsonl'])\n"
        "except SystemExit as stop: assert stop.code == 1\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no/such/place.jsonl" in done.stdout


def test_a_benchmark_is_read_from_its_local_files(tmp_path):
    rows = [
        {
            "question": f"is number {n} odd",
            "passage": f"Text {n}.",
            "answer": bool(n % 2),
            "label": n % 2,
        }
        for n in range(60)
    ]
    for split in ("train", "dev", "validation", "test"):
        text = "".join(
            json.dumps(
                {
                    key: f"{split} {one}" if key in ("question", "passage") else one
                    for key, one in row.items()
                }
            )
            + "\n"
            for row in rows
        )
        (tmp_path / f"{split}.jsonl").write_text(text)
    done = invoke(
        "task",
        "boolq",
        "--data",
        tmp_path,
        "--out",
        tmp_path / "x" / "boolq.jsonl",
        "--sizes",
        "5,5,5",
    )
    assert done.exit_code == 0, done.output
    assert "5 pairs, 5 dev, 5 test" in done.output


def commands():
    """Name -> command, as click has them."""
    import typer

    from sadi_lens.apps.cli import app

    return typer.main.get_command(app).commands


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_example_of_the_help_can_be_typed_and_names_what_there_is(name):
    import shlex

    from sadi_lens.apps._loading import Asked
    from sadi_lens.apps.experiments import Experiment
    from sadi_lens.measure.methods import METHODS
    from sadi_lens.types.base import require_one_of

    words, _, examples = commands()[name].epilog.partition(": ")
    listed = examples.split("; ")
    assert words == ("Example" if len(listed) == 1 else "Examples")
    for example in listed:
        program, command, *arguments = shlex.split(example)
        assert (program, command) == ("sadi-lens", name)
        given = commands()[name].make_context(name, arguments).params
        models = given.get("model") or []
        for model in [models] if isinstance(models, str) else models:
            if not model.startswith("./"):  # the reader's own folder
                Asked(model, scoring=given.get("scoring", "sum"), sizes=given.get("sizes"))
        for method in filter(None, (given.get("methods") or "").split(",")):
            require_one_of("methods", method, METHODS)
        if name == "run":
            assert Experiment.from_yaml(given["experiment"]).name == given["experiment"]
        if name == "task":
            assert Asked("tiny", given["name"]).load_task().name == given["name"]


def test_the_help_names_every_way_of_scoring():
    from sadi_lens.types.answers import SCORINGS

    for name in ("demo", "compare", "explorer"):
        (option,) = [one for one in commands()[name].params if one.name == "scoring"]
        assert option.help.startswith(f"One of {', '.join(SCORINGS)} (")


@pytest.mark.parametrize("name", ["demo", "compare", "explorer", "run", "report"])
def test_ctrl_c_says_what_the_command_keeps(name, tmp_path, monkeypatch):
    import sadi_lens.apps.experiments
    import sadi_lens.apps.report
    from sadi_lens.apps._loading import Asked

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Asked, "load", stop)
    monkeypatch.setattr(sadi_lens.apps.experiments, "run_experiment", stop)
    monkeypatch.setattr(sadi_lens.apps.report, "write_report", stop)
    given = {"run": ["table4"], "report": [tmp_path]}.get(name, [])
    done = invoke(name, *given, "--out", tmp_path / "out")
    assert done.exit_code == 130
    steps = "finished steps are kept in OUT/steps"
    kept = {"demo": steps, "compare": steps, "run": "finished cells are kept"}
    words = kept.get(name, "what was only computed is lost, and the same command begins anew")
    assert words in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("option", "given", "message"),
    [
        ("--methods", "sadi-head,nope", "method must be one of"),
        ("--methods", ",", "method must be one of"),
        ("--n-null", "5", "n_null must be 0 or at least 20"),
        ("--budget", "0", "budget must be at least 1"),
        ("--controls", "some", "controls must be one of"),
        ("--component", "tail", "component must be one of"),
    ],
)
def test_what_no_model_makes_right_is_refused_before_one_is_loaded(
    option, given, message, tmp_path, monkeypatch
):
    from sadi_lens.apps._loading import Asked

    monkeypatch.setattr(Asked, "load", lambda _: pytest.fail("loaded"))
    done = invoke("compare", option, given, "--out", tmp_path / "out", "--no-png")
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_rows_of_ones_own_are_run_whatever_their_file_is_called(tmp_path, monkeypatch):
    import sadi_lens as sl
    from sadi_lens.apps._loading import Asked

    monkeypatch.chdir(tmp_path)
    invoke("task", "hints", "--out", "hints.jsonl", "--sizes", "12,10,14")
    rows = (tmp_path / "hints.jsonl").read_text()
    for name in ("suggest.jsonl", "hints.jsonl"):
        (tmp_path / name).write_text(rows)
        for asked in (Asked("tiny", name), Asked("tiny", data=tmp_path / name)):
            _, task, notes = asked.load()
            assert [one.prompt for one in task.test] == [
                one.prompt for one in sl.load_task("hints").test[:14]
            ]
            assert not notes
            assert not asked.neutral()
    assert Asked("tiny").neutral()


def test_a_demo_and_a_comparison_through_a_chat_template_end_with_their_results(tmp_path):
    """The tokenizer adds a BOS token to plain text, and none to what its template has rendered."""
    import shutil
    from pathlib import Path

    import sadi_lens as sl
    from sadi_lens.types.chat_prompt import ChatPrompt
    from sadi_lens.types.store import read_json

    model, data = tmp_path / "chatty", tmp_path / "mine.jsonl"
    shutil.copytree(Path(sl.__file__).parent / "models" / "tiny", model)
    (model / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}\nAnswer:"
        "{% else %} {{ m['content'] }}{% endif %}{% endfor %}"
    )
    invoke("task", "hints", "--out", data, "--sizes", "12,10,14")
    own = ["--model", model, "--data", data, "--chat-template", "--no-png", "--n-null", 20]
    done = invoke("demo", *own, "--out", tmp_path / "demo")
    assert done.exit_code == 0, done.output
    shifts = read_json(tmp_path / "demo" / "results.json")["shifts"]
    assert {type(one) for one in shifts.prompts} == {ChatPrompt}
    kept = {one.name.split("-")[0] for one in (tmp_path / "demo" / "steps").iterdir()}
    assert {"differences", "scores", "sweep", "units", "where"} <= kept
    names = "sadi-head,swapped-prompt,own-direction,own-norm"
    done = invoke("compare", *own, "--methods", names, "--budget", 2, "--out", tmp_path / "all")
    assert done.exit_code == 0, done.output
    rows = read_json(tmp_path / "all" / "results.json")["comparison"].rows
    assert {*names.split(",")} <= {row.label for row in rows}


@pytest.mark.parametrize("is_chat", [False, True])
def test_facts_are_known_in_the_form_that_they_are_asked_in(llama, monkeypatch, is_chat):
    """Through a chat template too: by hand, on the tokens of the tokenizer's own ``apply_chat_template``."""
    import torch

    import sadi_lens as sl
    from sadi_lens.apps._loading import known_facts

    template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }} Ann says"
        "{% else %} {{ m.content }}{% endif %}{% endfor %}"
    )
    tokenizer = llama.tokenizer
    monkeypatch.setattr(tokenizer, "chat_template", template)
    facts = sl.tasks.suggest_unaided(["day", "opposite"])[0]
    words = ("ball", "box", "hat", "cat", "dog", "weather", "hill")
    prompts = [f"the {'big ' * (at // 7)}{words[at % 7]} is" for at in range(len(facts))]
    samples = tuple(sl.Sample(one, (" red", " blue"), 0) for one in prompts)
    monkeypatch.setattr(sl.tasks, "suggest_unaided", lambda: (facts, samples))

    def texts_of(prompt, form):
        for answer in ("red", "blue"):
            turns = {"user": prompt, "assistant": answer}
            chat = [{"role": role, "content": text} for role, text in turns.items()]
            whole = tokenizer(f"{prompt} {answer}").input_ids
            yield tokenizer.apply_chat_template(chat, return_dict=False) if form else whole

    def is_right(prompt, form):
        red, blue = texts_of(prompt, form)
        assert red[:-1] == blue[:-1]
        with torch.inference_mode():
            logits = llama.original_model(torch.tensor([red[:-1]])).logits[0, -1]
        return bool(logits[red[-1]] > logits[blue[-1]])

    asked = dict(zip(facts, prompts, strict=True))
    own, other = (
        {fact for fact, prompt in asked.items() if is_right(prompt, form)}
        for form in (is_chat, not is_chat)
    )
    assert own != other
    task, note = known_facts(llama, is_chat=is_chat)
    kept = {one.cluster for one in (*task.pairs, *task.dev)}
    assert kept & set(facts) == own
    assert f"answers {len(own)} unaided" in note


@pytest.mark.parametrize("name", sorted(commands()))
def test_an_empty_value_is_none_at_all(name, tmp_path, monkeypatch):
    """Of a variable that is not set: it was the folder here, the default, or (``--host``) every address."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"prompt": "a", "target": " b"}')
    parameters = commands()[name].params
    places = ["x" for one in parameters if one.param_type_name == "argument"]
    given = [[*places, ""]] + [[""]] * bool(places)
    for one in parameters:
        if one.param_type_name == "option" and not one.is_flag and one.name != "help":
            (option,) = one.opts
            given += [[*places, option, ""], [option, "", *places], [*places, f"{option}="]]
    for arguments in given:
        done = invoke(name, *arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert "is empty; give one, or leave it out" in " ".join(done.output.split()), arguments
    assert [one.name for one in tmp_path.iterdir()] == ["mine.jsonl"]


def test_an_empty_value_of_vllms_own_options_is_passed_on(tmp_path):
    """Of an option that ``serve`` does not have: it may mean something there."""
    import typer

    command = commands()["serve"]
    passed = ["--middleware", "", "--ssl-ca-certs="]
    context = command.make_context("serve", ["x", "--tables", str(tmp_path), *passed])
    assert context.args == passed
    with pytest.raises(typer.BadParameter, match="the value of --host is empty"):
        command.make_context("serve", ["x", "--tables", str(tmp_path), "--host="])


def test_a_comma_behind_the_last_method_is_none(tmp_path, monkeypatch):
    from sadi_lens.measure import comparing

    given = []
    monkeypatch.setattr(comparing, "compare", lambda *args, **_: given.append(args[2]) or 1 / 0)
    invoke("compare", "--methods", "sadi-head, caa,", "--out", tmp_path / "out", "--no-png")
    assert given == [["sadi-head", "caa"]]


@pytest.mark.parametrize("command", ["demo", "compare"])
def test_a_file_in_the_place_of_the_steps_is_refused_before_the_work(
    command, tmp_path, monkeypatch
):
    from sadi_lens.apps._loading import Asked

    monkeypatch.setattr(Asked, "load", lambda _: pytest.fail("loaded"))
    (tmp_path / "steps").write_text("mine")
    done = invoke(command, "--out", tmp_path, "--no-png")
    assert done.exit_code == 1
    assert "steps is not a folder" in " ".join(done.output.split())
    assert (tmp_path / "steps").read_text() == "mine"


def test_the_table_of_a_demo_ends_with_the_notes_of_its_comparison(capsys):
    import sadi_lens as sl
    from sadi_lens.apps import _printing

    task = sl.load_task("hints")
    few = sl.Task("hints", pairs=task.pairs[:6], dev=task.dev[:4], test=task.test[:4])
    found = sl.compare(sl.load_model("tiny"), few, [None], n_null=0, progress=False)
    noted = replace(found, notes=("caa [layer 3] chose the largest strength of its grid",))
    settings = {"tune_null": True, "n_dev": 4, "n_pairs": 6}
    _printing.print_table({"comparison": noted, "settings": settings})
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("caa [layer 3] chose the largest strength of its grid")


@pytest.mark.parametrize("width", [72, 80, 132])
def test_a_narrow_terminal_gets_a_paragraph_a_row_and_no_broken_word(width, monkeypatch):
    import io

    from rich.console import Console

    from sadi_lens.apps import _printing

    out = io.StringIO()
    monkeypatch.setattr(_printing, "console", Console(file=out, width=width))
    columns = ("method", "accuracy", "gain", "valid", "null p", "margin (nats)")
    cells = ("95.0% [78%, 99%]", "+25.0 [+13.8, +40.4]", "65%", "0.010 [0.00, 0.04]", "")
    rows = [("SADI head (magnitude ranking)", *cells)]
    _printing.print_rows(columns, rows, title="hints on tiny", caption="gain in points")
    found = out.getvalue()
    assert ("\u2502" in found) == (width == 132)
    assert max(map(len, found.splitlines())) <= width
    text = " ".join(found.split())
    for word in ("hints on tiny", "magnitude", *cells[2:4], "gain in points"):
        assert word in text
    assert "\u2026" not in found
    if width < 100:
        assert "accuracy 95.0% [78%, 99%]" in text
        assert "margin" not in text  # nothing is said of it


@pytest.mark.parametrize("name", ["demo", "compare"])
def test_as_many_random_masks_are_drawn_as_by_the_function(name):
    """The command line starts without NumPy, so it cannot take the number from where it stands."""
    import inspect

    from sadi_lens.apps import cli
    from sadi_lens.types.stats import N_NULL

    assert inspect.signature(getattr(cli, name)).parameters["n_null"].default == N_NULL


def test_python_runs_the_package_as_the_command():
    command = [sys.executable, "-m", "sadi_lens", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("sadi_lens ")


def test_a_line_beside_a_bar_stands_on_a_line_of_its_own(capsys):
    import sys

    from tqdm import tqdm

    from sadi_lens.apps._app import say

    with tqdm(total=2, desc="choose", file=sys.stderr, disable=False, mininterval=0):
        say("step 1")
        drawn = capsys.readouterr()
    assert drawn.out == "step 1\n"
    bar, *gone, again = drawn.err.strip("\r").split("\r")
    assert bar.startswith("choose")
    assert gone
    assert not "".join(gone).strip()
    assert again.startswith("choose")


def test_help_is_folded_by_the_terminal_alone(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = invoke("demo", "--help").output.splitlines()
    start = next(i for i, line in enumerate(lines) if "Every finished step" in line)
    assert all(len(line.rstrip()) > 60 for line in lines[start : start + 2])


def test_a_tab_of_writing_that_a_model_has_no_room_for_is_refused_before_anything_is_read(
    tmp_path, monkeypatch
):
    """It was found after the task had been read, with the remedy of another call."""
    from factories import random_llama

    import sadi_lens as sl
    from sadi_lens.apps.explorer import making

    hf, tokenizer = random_llama(max_position_embeddings=32)
    hf.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"split": "pairs", "prompt": "the ball is", "positive": " red", "negative": " blue"}\n'
        '{"split": "dev", "prompt": "the hat is", "choices": [" red", " blue"], "answer": 0}\n'
    )
    monkeypatch.setattr(making, "answering", lambda *_, **__: pytest.fail("was read"))
    done = invoke(
        "explorer",
        "--model",
        str(tmp_path / "model"),
        "--task",
        str(rows),
        "--out",
        str(tmp_path / "x.html"),
    )
    assert done.exit_code == 1
    words = " ".join(done.output.split())
    assert "pass --writing none, or a task of shorter texts" in words
    assert "must fit the context of 32 tokens" in words
    making.require_room(sl.load_model("tiny"), sl.load_task("kindness"))
    making.require_room(sl.load_model("tiny"), None)
