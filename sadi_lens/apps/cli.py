"""Command line: ``sadi-lens demo``, ``compare``, ``run``, ``figures``, ``report``, ``explorer`` and ``serve``."""

import dis
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sadi_lens.apps._printing import console, print_comparison, print_table

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find where a behaviour lives in a language model, scale exactly that, see what it did.",
)


def command(function: Callable[..., None], *, more: bool = False) -> Callable[..., None]:
    """A command of the app: what it refuses is one line and exit code 1, Ctrl-C 130, wrong usage 2.

    With ``SADI_LENS_TRACEBACK`` set, errors keep their traceback. ``more`` options than its own are left in the
    context's ``args``.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        # A shell leaves `--out=~/x` as it is.
        paths = {name: one.expanduser() for name, one in kwargs.items() if isinstance(one, Path)}
        try:
            function(*args, **kwargs | paths)
        except KeyboardInterrupt as error:
            console.print(
                "\ninterrupted; what was written is kept and complete, run it again to go on"
            )
            raise typer.Exit(130) from error
        except typer.Exit:
            raise
        except Exception as error:
            if os.environ.get("SADI_LENS_TRACEBACK"):
                raise
            console.print(f"[red]error:[/red] {escape(_one_line(error))}", highlight=False)
            raise typer.Exit(1) from error

    settings = {"allow_extra_args": more, "ignore_unknown_options": more}
    return app.command(context_settings=settings)(run)


def _one_line(error: Exception) -> str:
    text = (
        error.strerror if isinstance(error, OSError) and error.filename is None else None
    ) or str(error)
    if isinstance(error, ValueError | OSError | RuntimeError | ImportError) or _is_raised(error):
        return text
    return f"{type(error).__name__}: {text} (unforeseen; SADI_LENS_TRACEBACK=1 shows where)"


def _is_raised(error: Exception) -> bool:
    """Whether a TypeError is a refusal: a ``raise`` of this library, not an operation that failed."""
    trace = error.__traceback__
    if not isinstance(error, TypeError) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    is_ours = str(trace.tb_frame.f_globals.get("__name__")).startswith("sadi_lens.")
    return is_ours and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


@command
def demo(
    model: Annotated[str, typer.Option(help="tiny, a local folder or a Hub name")] = "tiny",
    task: Annotated[
        str, typer.Option(help="hints, sentiment, effects, recall, or a .jsonl file")
    ] = "hints",
    component: Annotated[str, typer.Option(help="head, hidden, mlp_out or neuron")] = "head",
    out: Annotated[Path, typer.Option(help="Folder for figures/ and results.json")] = Path("demo"),
    png: Annotated[bool, typer.Option(help="Also write PNG (needs Chromium)")] = True,
    n_null: Annotated[int, typer.Option(help="Random masks in each null band")] = 200,
    tune_null: Annotated[
        bool, typer.Option(help="Let every random mask choose its own strength on dev (slow)")
    ] = False,
) -> None:
    """From contrastive pairs to a steered model: a table, figures and results.json."""
    from sadi_lens.apps.demo import run_demo
    from sadi_lens.models import load_model
    from sadi_lens.tasks import load_task
    from sadi_lens.types.model import component_name
    from sadi_lens.types.store import write_json

    component = component_name(component)
    _require_places(out, png, component)
    loaded_task = load_task(task)
    results = run_demo(
        load_model(model), loaded_task, component=component, n_null=n_null, tune_null=tune_null
    )
    print_table(results)
    path = write_json(results, out / "results.json")
    console.print(f"results: {escape(str(path))}")
    _draw(results, out / "figures", png=png)
    console.print(f"\n{escape(results['finding'])}", highlight=False)


@command
def compare(
    model: Annotated[str, typer.Option(help="tiny, a local folder or a Hub name")] = "tiny",
    task: Annotated[
        str, typer.Option(help="hints, sentiment, effects, or a .jsonl file")
    ] = "hints",
    methods: Annotated[
        str, typer.Option(help="Names separated by commas; default all (a wrong name lists them)")
    ] = "",
    component: Annotated[
        str, typer.Option(help="Component of fixed methods, controls, null")
    ] = "head",
    n_null: Annotated[int, typer.Option(help="Random masks in the null band; 0 for none")] = 200,
    tune_null: Annotated[
        bool, typer.Option(help="Let every random mask choose its own strength on dev, as SADI did")
    ] = True,
    budget: Annotated[int, typer.Option(help="Candidates that each method may try on dev")] = 48,
    neutral: Annotated[
        Path | None,
        typer.Option(help="Text file, one neutral text a line, for side effects"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for figures/ and results.json")] = Path(
        "compare"
    ),
    png: Annotated[bool, typer.Option(help="Also write PNG (needs Chromium)")] = True,
) -> None:
    """Every way to steer side by side: chosen on dev with one budget, scored once on the same test items."""
    from sadi_lens.measure.comparing import compare as run
    from sadi_lens.models import load_model
    from sadi_lens.tasks import load_task
    from sadi_lens.tasks.embedded import neutral_texts
    from sadi_lens.types.store import write_json

    _require_places(out, png)
    loaded_task = load_task(task)
    texts = neutral_texts(loaded_task.name)
    if neutral is not None:
        texts = [line for line in neutral.read_text(encoding="utf-8").splitlines() if line.strip()]
    comparison = run(
        load_model(model),
        loaded_task,
        [one.strip() for one in methods.split(",") if one.strip()] or None,
        component=component,
        budget=budget,
        n_null=n_null,
        tune_null=tune_null,
        neutral=texts,
    )
    print_comparison(comparison)
    path = write_json({"comparison": comparison}, out / "results.json")
    console.print(f"results: {escape(str(path))}")
    _draw({"comparison": comparison}, out / "figures", png=png)


@command
def figures(
    results: Annotated[Path, typer.Argument(help="results.json of a run")],
    out: Annotated[Path | None, typer.Option(help="Folder; default figures/ beside it")] = None,
    png: Annotated[bool, typer.Option(help="Also write PNG (needs Chromium)")] = True,
) -> None:
    """Draw every figure again from results.json, without a model."""
    from sadi_lens.types.store import read_json

    _draw(read_json(results), out or results.parent / "figures", png=png)


@command
def report(
    run: Annotated[Path, typer.Argument(help="results.json of a run, or the folder that holds it")],
    out: Annotated[Path | None, typer.Option(help="File; default report.html beside it")] = None,
) -> None:
    """Tell what a run found as one HTML file: no network, no model."""
    from sadi_lens.apps.report import write_report

    path = write_report(run, out)
    console.print(f"report: {escape(str(path))}")


@command
def explorer(
    model: Annotated[str, typer.Option(help="tiny, a local folder or a Hub name")] = "tiny",
    task: Annotated[str, typer.Option(help="An embedded task, or a .jsonl file")] = "hints",
    component: Annotated[str, typer.Option(help="head, hidden, mlp_out or neuron")] = "head",
    out: Annotated[Path, typer.Option(help="File to write")] = Path("explorer.html"),
) -> None:
    """Compute K x strength for a menu of prompts and write it as one HTML page with sliders."""
    from sadi_lens.apps.explorer.explorer import SteeringExplorer
    from sadi_lens.find.differences import activation_differences
    from sadi_lens.models import load_model
    from sadi_lens.tasks import load_task
    from sadi_lens.types.files import require_place
    from sadi_lens.types.model import component_name

    component = component_name(component)
    require_place(out)
    loaded_task = load_task(task)
    loaded = load_model(model)
    found = activation_differences(loaded, loaded_task.pairs, task=loaded_task.name)
    path = SteeringExplorer(loaded, loaded_task, found[component]).to_html(out)
    console.print(f"explorer: {escape(str(path))}")


@command
def run(
    experiment: Annotated[str, typer.Argument(help="A YAML file, or the name of an example")],
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/NAME")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Models to run instead of the file's")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Folder of local data sets")] = None,
    png: Annotated[bool, typer.Option(help="Also write PNG (needs Chromium)")] = False,
) -> None:
    """Run an experiment; started again, it goes on where it was."""
    import dataclasses

    from sadi_lens.apps.experiments import Experiment, run_experiment

    loaded = Experiment.from_yaml(experiment)
    if model:
        loaded = dataclasses.replace(loaded, models=tuple(model))
    if data:
        loaded = dataclasses.replace(loaded, data=data)
    folder = run_experiment(loaded, out or Path("runs") / loaded.name, png=png)
    console.print(f"report: {escape(str(folder / 'report.md'))}", highlight=False)


@functools.partial(command, more=True)
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


def _require_places(out: Path, png: bool, component: str | None = None) -> None:
    """Refuse before anything is computed what could not be written afterwards."""
    from sadi_lens.plots._demo import demo_figure_names
    from sadi_lens.plots.export import require_places
    from sadi_lens.types.files import require_place

    require_place(out / "results.json")
    require_places(demo_figure_names(component), out / "figures", png=png)


def _draw(results: dict, out: Path, *, png: bool) -> None:
    from sadi_lens.plots import demo_figures, export

    drawn = {
        f"{name}{suffix}": figure
        for theme, suffix in (("light", ""), ("dark", "_dark"))
        for name, figure in demo_figures(results, theme=theme).items()
    }
    try:
        export(drawn, out, png=png)
    except RuntimeError as error:  # no browser: the HTML is there all the same
        console.print(f"[yellow]{escape(str(error))}[/yellow]", highlight=False)
    console.print(f"figures: {escape(str(out))} ({len(drawn)})")
