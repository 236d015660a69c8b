"""Command line: ``sadi-lens demo``, ``compare``, ``explorer``, ``run``, ``report``, ..."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sadi_lens.apps import _lists
from sadi_lens.apps._app import app, command, say
from sadi_lens.apps._loading import (
    Asked,
    ChatTemplate,
    Data,
    Dtype,
    ModelName,
    OutFolder,
    Png,
    Position,
    Scoring,
    Sizes,
    TaskName,
    Writing,
    is_large,
    writing_task,
)
from sadi_lens.apps._outputs import RESUMED, STEPS, draw, kept_before, require_places
from sadi_lens.apps._printing import console, print_comparison, print_table

__all__ = ["app"]
_ = _lists  # its commands are registered by importing it


@command(
    "demo",
    "demo --model smollm2",
    "demo --data mine.jsonl --model ./model --sizes 100,60,150",
    stopped=RESUMED,
)
def demo(
    model: ModelName = "tiny",
    task: TaskName = None,
    data: Data = None,
    sizes: Sizes = None,
    chat_template: ChatTemplate = False,
    scoring: Scoring = "sum",
    dtype: Dtype = None,
    position: Position = "last_prompt",
    component: Annotated[str, typer.Option(help="head, hidden, mlp_out or neuron")] = "head",
    out: OutFolder = Path("demo"),
    png: Png = True,
    n_null: Annotated[int, typer.Option(help="Random masks in each null band")] = 60,
    tune_null: Annotated[
        bool | None,
        typer.Option(
            help="Let every random mask choose K and strength on dev, as SADI did: without it no p-value; default: "
            "yes, for large models no (slow)"
        ),
    ] = None,
) -> None:
    """From contrastive pairs to a steered model: a table, figures and results.json.

    Every finished step is kept in OUT/steps under a hash of all it was computed from: the same command again goes on
    where it stopped, and a changed setting computes anew what depends on it.
    """
    from sadi_lens.types.model import component_name

    asked = Asked(model, task, data, sizes, chat_template, dtype, position, scoring)
    component = component_name(component)
    require_places(out, png, component)
    from sadi_lens.measure.calls import journal

    with journal(out / STEPS):
        loaded, loaded_task, notes = asked.load()
        say(*notes, *kept_before(out))
        from sadi_lens.apps.demo import run_demo
        from sadi_lens.types.store import write_json

        results = run_demo(
            loaded,
            loaded_task,
            component=component,
            position=position,
            scoring=scoring,
            n_null=n_null,
            tune_null=not is_large(loaded) if tune_null is None else tune_null,
            progress=console.is_terminal,
            say=say,
        )
    print_table(results)
    path = write_json(results, out / "results.json")
    say(f"results: {path}")
    draw(results, out / "figures", png=png)
    say(f"\n{results['finding']}")


@command(
    "compare --model smollm2 --methods sadi-head,sadi-effect,caa",
    "compare --data mine.jsonl --model ./model",
    stopped=RESUMED,
)
def compare(
    model: ModelName = "tiny",
    task: TaskName = None,
    data: Data = None,
    sizes: Sizes = None,
    chat_template: ChatTemplate = False,
    scoring: Scoring = "sum",
    dtype: Dtype = None,
    position: Position = "last_prompt",
    methods: Annotated[
        str, typer.Option(help="Names separated by commas, of `sadi-lens methods`; default all")
    ] = "",
    component: Annotated[
        str,
        typer.Option(help="head, hidden, mlp_out or neuron: of fixed methods, controls and null"),
    ] = "head",
    n_null: Annotated[int, typer.Option(help="Random masks in each null; 0 for none")] = 60,
    tune_null: Annotated[
        bool, typer.Option(help="Let every random mask choose K and strength on dev, as SADI did")
    ] = True,
    budget: Annotated[int, typer.Option(help="Candidates that each method may try on dev")] = 48,
    controls: Annotated[
        str,
        typer.Option(help="main, or all: controls and nulls of every method that scales a mask"),
    ] = "main",
    written: Annotated[bool, typer.Option(help="Let every choice write its answer, too")] = False,
    neutral: Annotated[
        Path | None,
        typer.Option(help="Text file, one neutral text a line, for side effects"),
    ] = None,
    out: OutFolder = Path("compare"),
    png: Png = True,
) -> None:
    """Every way to steer side by side: chosen on dev with one budget, scored once on the same test items.

    Finished steps are kept in OUT/steps, as those of the demo: the same command again goes on where it stopped.
    """
    asked = Asked(model, task, data, sizes, chat_template, dtype, position, scoring)
    require_places(out, png)
    from sadi_lens.measure.calls import journal
    from sadi_lens.measure.listing import require_meant
    from sadi_lens.tasks.files import read_lines

    texts = None if neutral is None else read_lines(neutral)
    names = [one.strip() for one in methods.strip(", ").split(",")] if methods else []
    require_meant(names, component, controls, n_null, budget)
    loaded, loaded_task, notes = asked.load()
    say(*notes, *kept_before(out))
    from sadi_lens.measure.comparing import compare as run
    from sadi_lens.types.store import write_json

    with journal(out / STEPS):
        comparison = run(
            loaded,
            loaded_task,
            names or None,
            component=component,
            position=position,
            scoring=scoring,
            budget=budget,
            n_null=n_null,
            tune_null=tune_null,
            controls=controls,
            written=written,
            neutral=asked.neutral() if texts is None else texts,
            progress=console.is_terminal,
        )
    print_comparison(comparison)
    say(f"results: {write_json({'comparison': comparison}, out / 'results.json')}")
    draw({"comparison": comparison}, out / "figures", png=png)


@command("figures demo/results.json --out figures")
def figures(
    run: Annotated[Path, typer.Argument(help="results.json of a run, or the folder that holds it")],
    out: Annotated[Path | None, typer.Option(help="Folder; default figures/ beside it")] = None,
    png: Png = True,
) -> None:
    """Draw every figure again from results.json, without a model."""
    from sadi_lens.apps.report.build import results_file
    from sadi_lens.types.store import read_json

    results = results_file(run)
    draw(read_json(results), out or results.parent / "figures", png=png)


@command("report demo")
def report(
    run: Annotated[Path, typer.Argument(help="results.json of a run, or the folder that holds it")],
    out: Annotated[Path | None, typer.Option(help="File; default report.html beside it")] = None,
) -> None:
    """Tell what a run found as one HTML file: no network, no model."""
    from sadi_lens.apps.report import write_report

    path = write_report(run, out)
    console.print(f"report: {escape(str(path))}")


@command("explorer --model smollm2 --out smollm2.html")
def explorer(
    model: ModelName = "tiny",
    task: TaskName = None,
    data: Data = None,
    sizes: Sizes = None,
    chat_template: ChatTemplate = False,
    scoring: Scoring = "sum",
    dtype: Dtype = None,
    position: Position = "last_prompt",
    component: Annotated[str, typer.Option(help="head, hidden, mlp_out or neuron")] = "head",
    writing: Writing = "kindness",
    out: Annotated[Path, typer.Option(help="File to write")] = Path("explorer.html"),
) -> None:
    """Steer a task at every K and strength, and write it as one HTML page: a dot per item, texts, pushes, maps."""
    from sadi_lens.types.files import require_place
    from sadi_lens.types.model import component_name
    from sadi_lens.types.seals import EXPLORER

    asked = Asked(model, task, data, sizes, chat_template, dtype, position, scoring)
    component, text_task = component_name(component), writing_task(writing)
    require_place(out, EXPLORER)
    loaded, loaded_task, notes = asked.load()
    say(*notes)
    from sadi_lens.apps.explorer.making import answering, require_room, writing_beside

    require_room(loaded, text_task)
    shown = console.is_terminal
    made = answering(
        loaded, loaded_task, component, position=position, scoring=scoring, progress=shown
    )
    beside = text_task and writing_beside(made, text_task, progress=shown)
    say(f"explorer: {made.to_html(out, writing=beside, progress=shown)}")


@command(
    "run table4 --model tiny --out runs/table4",
    stopped="finished cells are kept, and the same command goes on with the others",
)
def run(
    experiment: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of an example, as table4; a wrong name lists them"
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/NAME")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Models to run instead of the file's")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Folder of local data sets")] = None,
    png: Png = False,
    shard: Annotated[
        str | None, typer.Option(help="I/N from 0, or auto: this process's cells alone")
    ] = None,
    finish: Annotated[bool, typer.Option(help="Write the tables of finished shards")] = False,
) -> None:
    """Run an experiment; started again, it goes on where it was."""
    import dataclasses

    from sadi_lens.apps.experiments import Experiment, run_experiment
    from sadi_lens.measure.shards import shard_of

    if shard is not None and finish:
        raise ValueError("--shard and --finish exclude each other: finish when all shards are done")
    own = None if shard is None else shard_of(shard)

    loaded = Experiment.from_yaml(experiment)
    if model:
        loaded = dataclasses.replace(loaded, models=tuple(model))
    if data:
        loaded = dataclasses.replace(loaded, data=data)
    folder = run_experiment(
        loaded, out or Path("runs") / loaded.name, shard=own, finish=finish, png=png
    )
    done = f"report: {folder / 'report.md'}"
    if own:
        done = f"shard {own[0]}/{own[1]} is finished; --finish when all are"
    console.print(escape(done), highlight=False)


@command("serve ./model --tables ./table", more=True)
def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A local folder or a Hub name")],
    tables: Annotated[list[Path], typer.Option(help="Folder of export_tables; may be repeated")],
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on")] = 8000,
    dtype: Annotated[str, typer.Option(help="Of the model")] = "float32",
) -> None:
    """Serve a model with vLLM, each request steered by a table or by none; other options go to vLLM's server."""
    import os

    from sadi_lens.serving.server import launch

    found = launch(model, tables, host=host, port=port, dtype=dtype, extra=context.args)
    console.print("client, unsteered and steered:", highlight=False)
    console.print(found.client, markup=False, highlight=False, soft_wrap=True)
    os.execve(
        found.command[0], found.command, found.environment
    )  # the server takes this process's place
