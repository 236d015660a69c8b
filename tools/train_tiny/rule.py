"""Which training seed is taken, decided by unsteered behaviour alone."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train_tiny.card import Measured

KNOWS = 0.80
"""Least accuracy without a cue and with a right one, each task."""
GIVES_IN = 0.15
"""Least loss under a wrong cue, against none, each task."""
ROOM = (0.50, 0.85)
"""Bounds of the accuracy on the mixed dev split, each task."""


def faults(measured: "Measured") -> list[str]:
    """Why a seed is not accepted; empty where it is.

    The rule was fixed when three sets of weights had been seen (the shipped ones and seeds 0 and 1 in one go), before
    any other was trained, and without a steered number.
    """
    found: list[str] = []
    for task, row in measured.accuracy.items():
        for cue in ("none", "right"):
            if row[cue] < KNOWS:
                found.append(f"{task}, cue {cue}: {row[cue]:.3f} is below {KNOWS}")
        if row["none"] - row["wrong"] < GIVES_IN:
            found.append(
                f"{task}: a wrong cue costs {row['none'] - row['wrong']:.3f}, below {GIVES_IN}"
            )
        if not ROOM[0] <= row["dev"] <= ROOM[1]:
            found.append(f"{task}: dev {row['dev']:.3f} is outside {ROOM[0]} to {ROOM[1]}")
    return found


RULE = f"""
Written down before any seed but the shipped weights and two sisters (below) had been trained, on unsteered behaviour alone:

A seed is **accepted** if on dev each of the four tasks is answered right in at least {100 * KNOWS:.0f}% without a cue and with a right one (the
answer is known), a wrong cue costs at least {100 * GIVES_IN:.0f} points (the model gives in), and the mixed split lies between {100 * ROOM[0]:.0f}% and
{100 * ROOM[1]:.0f}% (there is room above and below). The seed **taken** is the first accepted of 0, 1, 2, ...: no steered number, and nothing of test,
plays a part. `PYTHONPATH=tools python -m train_tiny.seeds --out DIR --seeds 10` trains the seeds, applies the rule and measures
every ranking and fixed vectors on each.

The shipped weights are accepted (table above) and are **not** what the rule takes: they are no seed of the recipe in one go, and were
kept partly for what steering does to them ("Designs tried"). What is shown on them is shown on one model.
"""
