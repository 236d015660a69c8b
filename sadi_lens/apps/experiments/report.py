"""Tables and figures of a run, from its finished cells alone."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sadi_lens.apps.experiments.cells import UNSTEERED, Cell, base_of
from sadi_lens.apps.experiments.experiment import Experiment, grid_method
from sadi_lens.apps.experiments.folder import RunFolder
from sadi_lens.apps.experiments.items import held_of, items_of, parquet, write_items
from sadi_lens.measure.methods import METHODS
from sadi_lens.tasks.published import beside
from sadi_lens.types.paired import mcnemar_p, paired_interval
from sadi_lens.types.results import Evaluation
from sadi_lens.types.results.table import interval_text, number_text, p_text, points_text
from sadi_lens.types.stats import Interval, mean_error

if TYPE_CHECKING:
    import pandas as pd

AXES = (
    "model", "task", "shots", "pair_task", "negatives", "n_pairs", "seed", "method", "component",
    "ranking", "position",
)  # fmt: skip


def write_report(
    experiment: Experiment, folder: RunFolder, cells: Sequence[Cell]
) -> "tuple[dict[Cell, dict[str, Any]], dict[str, pd.DataFrame]]":
    """``items.parquet``, ``results.csv`` and what else there is, ``report.md``; the cells and tables for figures."""
    import pandas as pd

    found, inputs = {cell: held_of(folder, cell) for cell in cells}, folder.inputs()
    for cell, one in found.items():
        held = one if isinstance(one, dict) else {}
        if held.get("cell") != asdict(cell) or not {"test", "open"} & held.keys():
            what = held.get("cell", type(one).__name__)
            raise ValueError(
                f"{folder.cell(cell.id)} holds another cell ({what}); remove it and run again"
            )
        if held.get("settings", experiment.digest) != experiment.digest:
            raise ValueError(
                f"{folder.cell(cell.id)} was run by an experiment of other settings; remove it and run again"
            )
        for name, fingerprint in held.get("inputs", {}).items():
            if inputs.setdefault(name, fingerprint) != fingerprint:
                raise ValueError(
                    f"{folder.cell(cell.id)} was run on another {name} than this run ({fingerprint}, here "
                    f"{inputs[name]}); remove it and run again"
                )
    parts = {cell: items_of(cell, found[cell]) for cell in cells}
    for cell, part in parts.items():
        write_items(folder, cell, part)
    if frames := [part for part in parts.values() if len(part)]:
        items = pd.concat(frames, ignore_index=True)
        folder.write(folder.path / "items.parquet", parquet(items))
    tables: dict[str, pd.DataFrame] = {}
    results = results_table(experiment, found)
    if len(results):
        tables["results"] = results
        if results["seed"].nunique() > 1:
            tables["seeds"] = summarise_seeds(results)
        if experiment.published:
            tables["published"] = beside(results, experiment.published)
    extra = {"truthful": _truthful(found), "open_ended": _open(found), "timings": _timings(found)}
    tables = {name: table for name, table in (tables | extra).items() if len(table)}
    for name, table in tables.items():
        path = folder.path / f"{name}.csv"
        folder.write(path, table.to_csv(index=False, lineterminator="\n").encode())
    text = _markdown(experiment, tables, found)
    folder.write(folder.path / "report.md", text.encode())
    return found, tables


def results_table(experiment: Experiment, found: dict[Cell, dict[str, Any]]) -> "pd.DataFrame":
    """One row for every cell and scoring, with its gain over the unsteered model on the same items."""
    import pandas as pd
    from statsmodels.stats.multitest import multipletests

    rows: list[dict[str, Any]] = []
    for cell, one in found.items():
        base = found[base_of(cell, experiment)].get("test") or {}
        for scoring, own in (one.get("test") or {}).items():
            rows.append(_row(cell, one, own, base[scoring], scoring))
    table = pd.DataFrame(rows)
    if len(table):
        steered = table["method"] != UNSTEERED
        table["holm_p"] = np.nan
        if steered.any():
            corrected = multipletests(table.loc[steered, "mcnemar_p"], method="holm")[1]
            table.loc[steered, "holm_p"] = corrected
    return table


def _row(
    cell: Cell, one: dict[str, Any], own: Evaluation, base: Evaluation, scoring: str
) -> dict[str, Any]:
    choice, selection = one.get("choice"), one.get("selection")
    is_base = cell.method == UNSTEERED
    is_same = choice is not None and choice.is_unsteered and not (own.correct != base.correct).any()
    gain = (
        Interval(0.0, 0.0) if is_same else paired_interval(own.correct, base.correct, base.clusters)
    )
    missing = float("nan")
    return {
        **asdict(cell),
        "scoring": scoring,
        "k": choice.k if choice and choice.axis == "K" else missing,
        "layer": choice.k if choice and choice.axis == "layer" else missing,
        "strength": choice.strength if choice else missing,
        "settings": choice.settings if choice else "",
        "dev_accuracy": choice.accuracy if choice else missing,
        "optimism": selection.optimism if selection else missing,
        "accuracy": own.accuracy,
        "standard_error": own.standard_error,
        "low": own.interval.low,
        "high": own.interval.high,
        "gain": missing if is_base else own.accuracy - base.accuracy,
        "gain_low": missing if is_base else gain.low,
        "gain_high": missing if is_base else gain.high,
        "mcnemar_p": missing if is_base else mcnemar_p(own.correct, base.correct, base.clusters),
        "margin": own.margin,
        "valid_rate": own.valid_rate,
        "chance": one["chance"],
        "n": own.n,
        "n_pairs_used": one.get("n_pairs", missing),
        "note": one.get("note", ""),
        "reason": choice.reason if choice else "",
    }


def summarise_seeds(results: "pd.DataFrame") -> "pd.DataFrame":
    """Mean, spread and range over seeds; spread is NaN where only one seed drew anything."""
    keys = [axis for axis in AXES if axis != "seed"] + ["scoring"]
    grouped = results.groupby(keys, sort=False, dropna=False)
    return (
        grouped["accuracy"]
        .agg(seeds="size", mean="mean", sd="std", lowest="min", highest="max")
        .join(grouped["gain"].mean().rename("mean_gain"))
        .reset_index()
    )


def _truthful(found: dict[Cell, dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    rows = [
        {**asdict(cell), "scoring": name, "value": float(v.mean()),
         "standard_error": mean_error(v, one["test"]["sum"].clusters), "n": v.size}
        for cell, one in found.items()
        for name, v in (one.get("truthful") or {}).items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _open(found: dict[Cell, dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        [{**asdict(cell), **row} for cell, one in found.items() for row in one.get("open") or ()]
    )


def _timings(found: dict[Cell, dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([{**asdict(cell), **one["seconds"]} for cell, one in found.items()])


def _markdown(
    experiment: Experiment, tables: dict[str, "pd.DataFrame"], found: dict[Cell, dict[str, Any]]
) -> str:
    lines = [f"# {experiment.name}", "", experiment.description.strip(), ""]
    lines += [
        "Masks come from pairs, K and strength from dev, every number below from test. Accuracy with its standard "
        "error and 95% Wilson interval; gain over the unsteered model on the same items with its 95% paired "
        "score interval; p: McNemar's mid-p, Holm-corrected over all rows of this run; all by cluster where items "
        "share a fact or text. Optimism: what choosing the best cell adds on dev (split-half).",
        "",
    ]
    used = [grid_method(name) for name in METHODS if name in experiment.methods]
    lines += [f"- **{one.name}**: {one.about}" for one in used] + [""]
    if "results" in tables:
        lines += [_pipe(_shown(tables["results"], experiment)), ""]
    for name, title in (
        ("seeds", "Over seeds"),
        ("truthful", "TruthfulQA"),
        ("open_ended", "Open-ended text"),
        ("published", "Beside the published numbers"),
    ):
        if name in tables:
            table = tables[name]
            varying = [c for c in table if c not in AXES or c == "task" or _varies(table, str(c))]
            lines += [f"## {title}", "", _pipe(table[varying]), ""]
            if name == "published":
                lines += [f"{table.attrs['warning']} {table.attrs['caution']}".strip(), ""]
    notes = {one["note"] for one in found.values() if one.get("note")}
    dropped = {
        f"{cell.model} cannot read, and {cell.task} leaves out: "
        + ", ".join(f"{n} of {split}" for split, n in one["dropped"].items() if n)
        for cell, one in found.items()
        if any(one["dropped"].values())
    }
    lines += [f"- {note}" for note in sorted(notes | dropped)]
    return "\n".join(lines).rstrip() + "\n"


def _shown(results: "pd.DataFrame", experiment: Experiment) -> "pd.DataFrame":
    """The columns of the report: axes that vary, and numbers as text."""
    import pandas as pd

    axes = [axis for axis in AXES if axis in ("task", "method") or _varies(results, axis)]
    table = results[axes].astype(str).replace("nan", "")
    if len(experiment.scorings) > 1:
        table["scoring"] = results["scoring"]
    rows = results.to_dict("records")
    table["settings"] = [row["settings"] for row in rows]
    table["accuracy (se) [95%]"] = [
        f"{row['accuracy']:.1%} ({100 * row['standard_error']:.1f}) {interval_text((row['low'], row['high']), '.0%')}"
        for row in rows
    ]
    table["gain [95%]"] = [
        points_text(row["gain"], (row["gain_low"], row["gain_high"])) for row in rows
    ]
    table["p"] = [p_text(row["holm_p"]) for row in rows]
    table["valid"] = [number_text(row["valid_rate"], ".0%") for row in rows]
    table["chance"] = [number_text(row["chance"], ".0%") for row in rows]
    table["dev, optimism"] = [
        ""
        if np.isnan(row["optimism"])
        else f"{row['dev_accuracy']:.1%}, {points_text(row['optimism'])}"
        for row in rows
    ]
    table["n"] = [f"{row['n']}" for row in rows]
    return pd.DataFrame(table)


def _varies(table: "pd.DataFrame", axis: str) -> bool:
    return len({str(value) for value in table[axis]} - {""}) > 1


def _pipe(table: "pd.DataFrame") -> str:
    """A Markdown table; numbers with four digits."""
    head = [str(name) for name in table.columns]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in table.itertuples(index=False):
        cells = [
            "" if value != value else f"{value:.4g}" if isinstance(value, float) else str(value)
            for value in row
        ]
        lines.append(
            "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
        )
    return "\n".join(lines)
