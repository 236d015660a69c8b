"""A run's results to one page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sadi_lens.apps.report import tables
from sadi_lens.apps.report.verdict import Verdict, gain_words, verdict
from sadi_lens.apps.web import Panel, panel, render, write_page
from sadi_lens.plots import demo_figures
from sadi_lens.plots._layout import where
from sadi_lens.plots._null import null_of, place_text
from sadi_lens.plots._theme import THEMES
from sadi_lens.plots._words import counted, percent
from sadi_lens.types.checks import as_path
from sadi_lens.types.files import require_place
from sadi_lens.types.model import COMPONENTS
from sadi_lens.types.results import Choice, Comparison, MethodRow, Sweep
from sadi_lens.types.results.conclusions import conclusions
from sadi_lens.types.seals import REPORT
from sadi_lens.types.store import read_header, read_json

RESULTS = "results.json"
POSITION_WORDS = {
    "last_prompt": "the last prompt token",
    "every_step": "the last prompt token and every generated one",
    "generated": "every generated token",
    "all": "every token",
}
KNOWN = {"comparison": Comparison, "sweep": Sweep, "choice": Choice, "differences": dict, "masks": dict,
         "sweeps": dict, "settings": dict, "finding": str}  # fmt: skip
"""What a report understands of a run, and its type; anything else is left to the figures."""
SECTIONS = (
    ("found", ("steering_", "method_", "side_")),
    ("chosen", ("sweep",)),
    ("where", ("difference", "units_", "element_", "rank_", "layer_")),
)
"""Section -> beginnings of the names of its figures; other figures stand at the end."""


MAX_CARDS = 4


class Card(NamedTuple):
    """One number of the first screen."""

    name: str
    value: str
    note: str


def results_file(run: Path) -> Path:
    """The ``results.json`` that is meant: the file itself, or that of a folder.

    Raises:
        FileNotFoundError: If a folder holds none.
    """
    if not run.is_dir():
        return run
    if not (run / RESULTS).is_file():
        raise FileNotFoundError(
            f"{run} holds no {RESULTS}; `sadi-lens demo --out {run}` writes one"
        )
    return run / RESULTS


def write_report(run: str | Path | Mapping[str, Any], path: str | Path | None = None) -> Path:
    """Write the report of a run as one HTML file that needs no network, no model and no kernel.

    Args:
        run: A ``results.json``, the folder that holds one, or the results themselves (``run_demo``).
        path: File to write; default ``report.html`` beside the results.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If there are no such results.
        ValueError: If they are of another version, hold nothing that a report shows, or ``path`` is missing.
        OSError: If the file cannot be written, or is there and is no report that sadi_lens wrote.
    """
    if isinstance(run, Mapping):
        if path is None:
            raise ValueError("path is needed when the results are given as a dict")
        require_place(as_path("path", path), REPORT)
        return write_page(report_html(run), path, REPORT)
    source = results_file(as_path("run", run))
    path = source.parent / "report.html" if path is None else as_path("path", path)
    require_place(path, REPORT)
    results = read_json(source)
    page = report_html(results, versions=read_header(source)["versions"])
    return write_page(page, path, REPORT)


def report_html(results: Mapping[str, Any], *, versions: Mapping[str, str] | None = None) -> str:
    """The page that ``write_report`` writes.

    Args:
        results: As ``run_demo`` returns them; what is missing is left out.
        versions: Package -> version that made the results.

    Raises:
        ValueError: If nothing in ``results`` can be shown, or a part is of the wrong type.
    """
    for name, kind in KNOWN.items():
        found = results.get(name)
        if found is not None and not isinstance(found, kind):
            raise ValueError(
                f"{name} must be a {kind.__name__}, got {type(found).__name__}; "
                "these results are not those of a run"
            )
    if not any(results.get(name) for name in KNOWN):
        raise ValueError(
            f"results must hold at least one of {sorted(KNOWN)}, got {sorted(results) or 'nothing'}"
            f"{', all of them empty' if set(results) & set(KNOWN) else ''}"
        )
    comparison: Comparison | None = results.get("comparison")
    sweep: Sweep | None = results.get("sweep")
    first = comparison or sweep or next(iter((results.get("differences") or {}).values()), None)
    said = (
        Verdict("not measured", "This run compares no methods, so it does not say whether steering helps.", ())
        if comparison is None
        else verdict(comparison)
    )  # fmt: skip
    return render(
        "report.html",
        title=f"{first.task or 'unnamed task'} on {first.model.name}" if first else "A run",
        kicker="sadi_lens report",
        verdict=said,
        cards=_cards(comparison, said),
        n_methods=len(said.rows),
        asked=_asked(results, first),
        finding=results.get("finding") or "",
        conclusions=[] if comparison is None else [*comparison.notes, *conclusions(comparison)],
        choice=results.get("choice"),
        sections=_sections(results, comparison, said),
        ends=_ends(results, first, versions or {}),
        has_untested=comparison is not None
        and any(row.null and row.null_p != row.null_p for row in comparison.rows),
    )


def _cards(comparison: Comparison | None, said: Verdict) -> list[Card]:
    """One card for each method of the verdict."""
    if comparison is None:
        return []
    base = comparison.rows[0]
    return [_card(comparison, row, base) for row in said.rows[:MAX_CARDS]]


def _card(comparison: Comparison, row: MethodRow, base: MethodRow) -> Card:
    parts = [gain_words(row)]
    null = null_of(comparison, row)
    if null is not None:
        parts.append(place_text(null, row, "random masks as good"))
    parts.append(f"valid answers {percent(base.valid_rate)} \u2192 {percent(row.valid_rate)}")
    return Card(
        row.label, f"{percent(base.accuracy)} \u2192 {percent(row.accuracy)}", "; ".join(parts)
    )


def _asked(results: Mapping[str, Any], first: Any) -> list[str]:
    settings: Mapping[str, Any] = results.get("settings") or {}
    component = settings.get("component") or getattr(first, "component", "")
    position = settings.get("position") or getattr(first, "position", "")
    sentences: list[str] = []
    if component in COMPONENTS:
        found = COMPONENTS[component]
        sentences.append(
            f"Does scaling a few {found.unit}s ({where(component)}) change how {first.model.name} does on "
            f"{first.task or 'this task'}?"
            + (f" The edit acts on {POSITION_WORDS.get(position, position)}." if position else "")
        )
    if {"n_pairs", "n_dev", "n_test"} <= set(settings):
        sentences.append(
            f"The units were ranked on {counted(settings['n_pairs'], 'contrastive pair')}, their number K and the "
            f"strength were chosen on {counted(settings['n_dev'], 'dev item')}, and the comparison was measured once "
            f"on {counted(settings['n_test'], 'test item')}; the three do not overlap."
        )
    return sentences


def _sections(
    results: Mapping[str, Any], comparison: Comparison | None, said: Verdict
) -> dict[str, dict[str, list[Any]]]:
    """Section -> its figures and its tables."""
    parts: dict[str, dict[str, list[Any]]] = {
        name: {"figures": [], "tables": []} for name in ("found", "chosen", "where", "more")
    }
    for one in _panels(results):
        home = next((name for name, starts in SECTIONS if one.name.startswith(starts)), "more")
        parts[home]["figures"].append(one)
    differences = results.get("differences") or {}
    if comparison is not None:
        lead = [row.label for row in said.rows]
        parts["found"]["tables"] += [
            tables.methods(comparison, lead),
            tables.gains(comparison, lead),
        ]
        if comparison.nulls:
            parts["found"]["tables"].append(tables.nulls(comparison.nulls))
    if results.get("sweep") is not None:
        parts["chosen"]["tables"].append(tables.cells(results["sweep"], results.get("choice")))
    for label, mask in (results.get("masks") or {}).items():
        parts["where"]["tables"].append(
            tables.units(label, mask, differences.get(mask.component))
        )  # fmt: skip
    return parts


def _panels(results: Mapping[str, Any]) -> list[Panel]:
    drawn = {theme: demo_figures(results, theme=theme) for theme in THEMES}
    return [panel(name, {theme: drawn[theme][name] for theme in THEMES}) for name in drawn["light"]]


def _ends(
    results: Mapping[str, Any], first: Any, versions: Mapping[str, str]
) -> list[tables.Table]:
    """Settings, model and versions."""
    ends: list[tables.Table] = []
    if results.get("settings"):
        ends.append(tables.pairs("Settings of the run.", results["settings"]))
    if first is not None:
        info = first.model
        ends.append(
            tables.pairs(
                "Model.",
                {
                    "name": info.name,
                    "architecture": info.architecture,
                    "shape": info.shape,
                    "weights (fingerprint)": info.fingerprint,
                },
            )
        )
    if versions:
        ends.append(tables.pairs("Versions that made the results.", versions))
    return ends
