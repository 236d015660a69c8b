"""The numbers that the paper printed, as data, and a run laid beside them."""

import json
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.stats import count_interval

if TYPE_CHECKING:
    import pandas as pd

_FILE = Path(__file__).with_name("published.json")


@cache
def _read() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def published_titles() -> dict[str, str]:
    """Name -> title of every published table."""
    return dict(_read()["titles"])


@checked()
def published_table(table: str) -> "pd.DataFrame":
    """One row per printed number (percent; seconds where the metric says so), with the test size it implies if known.

    Columns: table, task, label (as printed), model, method, component (as in an ``Experiment``; SADI-HIDDEN is the
    MLP's output, which their code steers), shots, metric, value, n, and n_pairs, pair_task, k and strength, or layer
    where the table varies them. ``.attrs`` holds source, caution and notes.

    Raises:
        ValueError: If there is no such table.
    """
    import pandas as pd

    data = _read()
    require_one_of("published table", table, data["titles"])
    frame = pd.DataFrame([row for row in data["rows"] if row["table"] == table])
    frame.attrs = {
        "source": data["source"],
        "caution": data["caution"],
        "notes": data["notes"].get(table, ""),
    }
    return frame


def beside(results: "pd.DataFrame", table: str) -> "pd.DataFrame":
    """Results of a run and the printed numbers of the same task, method, component and shots.

    Args:
        results: As in a run's ``results.csv``.
        table: Name of a published table.

    Returns:
        Columns task, label, ours_model, ours, ours_low, ours_high, theirs_model, theirs, theirs_low, theirs_high (95%
        Wilson, from the implied n; empty where n is unknown), difference (ours minus theirs, points). ``.attrs``
        holds the warning, that numbers of another model measure another thing, and the caution of ``published_table``:
        the printed intervals do not count that the best cell was chosen on the items that it was scored on.

    Raises:
        ValueError: If there is no such table.
    """
    import pandas as pd

    theirs = published_table(table)
    rows: list[dict[str, Any]] = []
    for ours in results.to_dict("records"):
        scoring = {"exact_match"} if ours["scoring"] == "exact_match" else {"accuracy"}
        same = theirs[
            (theirs["task"] == ours["task"])
            & (theirs["method"] == ours["method"])
            & (theirs["component"] == ours["component"])
            & (theirs["shots"] == ours["shots"])
            & theirs["metric"].isin(scoring | {"exact_match"})
        ]
        for name in ("n_pairs", "pair_task", "k", "strength"):
            if name in theirs and ours["method"] != "unsteered":
                same = same[[_agree(one, ours[name]) for one in same[name]]]
        rows += [_pair(ours, row) for row in same.to_dict("records")]
    frame = pd.DataFrame(rows)
    frame.attrs = {"caution": theirs.attrs["caution"], "warning": ""}
    if rows:
        message = _warning(frame)
        if message:
            frame.attrs["warning"] = message
            warnings.warn(message, stacklevel=2)
    return frame


def _agree(theirs: Any, ours: Any) -> bool:
    """Whether two settings are the same, be they numbers or words."""
    try:
        return float(theirs) == float(ours)
    except (TypeError, ValueError):
        return str(theirs) == str(ours)


def _pair(ours: dict[Any, Any], theirs: dict[Any, Any]) -> dict[str, Any]:
    interval = (float("nan"), float("nan"))
    n = theirs["n"]
    if n == n and n is not None:
        interval = count_interval(round(float(theirs["value"]) / 100 * int(n)), int(n))
    return {
        "task": ours["task"],
        "label": theirs["label"],
        "ours_model": ours["model"],
        "ours": 100 * ours["accuracy"],
        "ours_low": 100 * ours["low"],
        "ours_high": 100 * ours["high"],
        "theirs_model": theirs["model"],
        "theirs": float(theirs["value"]),
        "theirs_low": 100 * interval[0],
        "theirs_high": 100 * interval[1],
        "difference": 100 * ours["accuracy"] - float(theirs["value"]),
    }


def _warning(frame: "pd.DataFrame") -> str:
    def plain(name: str) -> str:
        return "".join(c for c in name.split("/")[-1].lower() if c.isalnum()).removesuffix("hf")

    pairs = zip(frame["ours_model"], frame["theirs_model"], strict=True)
    other = sorted({(ours, theirs) for ours, theirs in pairs if plain(ours) != plain(theirs)})
    if not other:
        return ""
    named = "; ".join(f"{ours} beside {theirs}" for ours, theirs in other)
    return (
        f"Different models stand side by side ({named}). The difference says nothing about whether the paper's result "
        "holds on its own model: a small or untrained model measures something else."
    )
