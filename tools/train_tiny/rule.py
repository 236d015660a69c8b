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

The 80% is not innocent: it was 85% in the first draft, and the shipped weights' 84.5% on sentiment were known when it was set.
The shipped weights are accepted (table above) and are **not** what the rule takes: they are no seed of the recipe in one go, and were
kept partly for what steering does to them ("Designs tried"). What is shown on them is shown on one model.
"""

SEEDS = """
Trained on one H100, ten at once (`--device cuda --jobs 10`, 264 s; another processor rounds differently, so these are not the
weights that a CPU gives), measured on a CPU. Without steering on dev, percent: no cue / right cue / wrong cue, mixed split.

| seed | accepted | hints | sentiment | effects | recall |
|---|---|---|---|---|---|
| 0 | no | 100 / 100 / 87, 91 | 100 / 100 / 4, 62 | 100 / 100 / 72, 82 | 94 / 100 / 68, 88 |
| 1 | yes | 100 / 100 / 84, 85 | 88 / 100 / 6, 58 | 100 / 99 / 65, 78 | 98 / 100 / 60, 83 |
| 2 | no | 100 / 100 / 96, 98 | 88 / 100 / 12, 57 | 100 / 100 / 70, 80 | 96 / 100 / 90, 96 |
| 3 | yes | 100 / 100 / 72, 83 | 100 / 100 / 0, 60 | 100 / 100 / 76, 82 | 98 / 100 / 56, 81 |
| 4 | no | 100 / 100 / 90, 89 | 92 / 100 / 0, 58 | 100 / 100 / 78, 85 | 97 / 100 / 88, 96 |
| 5 | no | 100 / 100 / 75, 80 | 88 / 100 / 4, 56 | 100 / 100 / 72, 82 | 98 / 100 / 68, 87 |
| 6 | no | 100 / 100 / 92, 95 | 94 / 99 / 20, 66 | 100 / 100 / 68, 76 | 96 / 100 / 86, 90 |
| 7 | no | 100 / 100 / 94, 94 | 98 / 100 / 10, 64 | 99 / 100 / 82, 80 | 98 / 100 / 84, 93 |
| 8 | no | 100 / 100 / 91, 91 | 92 / 100 / 3, 59 | 100 / 100 / 73, 81 | 97 / 100 / 72, 88 |
| 9 | no | 100 / 100 / 100, 100 | 100 / 100 / 2, 61 | 100 / 100 / 72, 83 | 96 / 100 / 100, 99 |

**The rule takes seed 1; it accepts 2 of 10.** The others give in too rarely on hints or recall (seed 9 never), or leave little to mend (seed 5).

Gain over the unsteered model on test in points, 360 items, K and strength chosen on dev (48 cells); the mean over seeds with its 95%
interval (seed and fact random and crossed: it speaks of other seeds and other facts; none is corrected for the 33 rows).

| task | method | seed 0 | seed 1 | seed 2 | seed 3 | seed 4 | seed 5 | seed 6 | seed 7 | seed 8 | seed 9 | mean gain [95%] | shipped weights |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
| hints | SADI, signed | +0.0 | +7.5 | +0.3 | +18.1 | +6.4 | +0.0 | +0.0 | +3.3 | +0.0 | +0.3 | +3.6 [-0.6, +7.8] | +18.3 |
| hints | SADI, magnitude | -0.3 | +7.5 | +3.6 | +12.2 | +8.1 | +0.0 | +3.6 | +3.3 | +0.0 | +0.0 | +3.8 [+0.8, +6.9] | +0.0 |
| hints | SADI, l2 | +0.0 | +14.4 | +0.0 | +0.0 | +7.8 | +13.9 | +0.6 | +4.4 | +0.0 | +0.6 | +4.2 [-0.0, +8.4] | +14.7 |
| hints | SADI, standardised | +0.8 | +1.1 | +0.3 | +10.3 | +0.3 | -0.6 | +5.8 | +3.6 | +0.0 | +0.0 | +2.2 [-0.3, +4.6] | +0.0 |
| hints | SADI, consistency | +6.9 | +1.1 | +2.2 | +21.1 | -0.6 | +0.3 | +4.7 | +1.4 | +0.0 | +0.3 | +3.8 [-0.9, +8.4] | +11.7 |
| hints | SADI, probe | +0.0 | +10.8 | +0.0 | +0.0 | -0.6 | -2.2 | +5.3 | -4.2 | +3.1 | +0.6 | +1.3 [-1.8, +4.3] | -0.6 |
| hints | SADI, attribution | +11.1 | -0.8 | +3.6 | +22.2 | +0.3 | -4.2 | +5.3 | +1.4 | +0.0 | +0.6 | +3.9 [-1.5, +9.4] | +0.0 |
| hints | SADI, gradient | +0.0 | +0.8 | +0.8 | +21.1 | -0.8 | +0.3 | -0.8 | +3.1 | -0.6 | +0.6 | +2.4 [-2.3, +7.2] | +11.7 |
| hints | SADI, effect | +13.1 | +14.4 | +3.9 | +22.8 | +8.1 | +18.9 | +5.8 | +4.4 | +8.3 | +0.6 | +10.0 [+4.9, +15.1] | +26.1 |
| hints | fixed, signed | +0.0 | -3.1 | +0.0 | -0.3 | +1.1 | -0.3 | +0.0 | +0.3 | -0.3 | +0.0 | -0.2 [-1.0, +0.5] | +0.0 |
| hints | fixed, effect | +0.8 | +0.0 | +0.0 | +0.0 | -2.5 | +0.8 | +1.1 | -3.6 | +0.0 | +0.0 | -0.3 [-1.4, +0.8] | -2.5 |
| sentiment | SADI, signed | +17.2 | +7.5 | +3.1 | +29.7 | +12.5 | +6.7 | +14.7 | +13.3 | +12.2 | +34.2 | +15.1 [+7.8, +22.4] | +11.7 |
| sentiment | SADI, magnitude | +37.2 | +11.9 | +1.9 | +39.7 | +11.4 | +6.4 | +20.0 | +13.6 | +14.2 | +39.4 | +19.6 [+9.3, +29.9] | +10.6 |
| sentiment | SADI, l2 | +36.9 | +8.9 | +0.3 | +39.7 | +12.8 | +3.3 | +21.4 | +8.9 | +3.3 | +39.4 | +17.5 [+6.1, +28.9] | +20.8 |
| sentiment | SADI, standardised | +37.2 | +4.2 | +1.4 | +38.6 | +9.2 | +7.8 | +11.7 | +13.1 | +6.9 | +34.7 | +16.5 [+6.0, +27.0] | +22.8 |
| sentiment | SADI, consistency | +37.2 | +2.2 | +2.5 | +39.4 | +5.3 | +7.5 | +20.0 | +14.2 | +9.2 | +35.3 | +17.3 [+6.5, +28.0] | +22.5 |
| sentiment | SADI, probe | +12.5 | -0.8 | +1.1 | +3.9 | +14.2 | +5.0 | +6.4 | +13.1 | +10.8 | +17.2 | +8.3 [+3.9, +12.8] | +6.7 |
| sentiment | SADI, attribution | +37.2 | +2.8 | +2.8 | +19.4 | +8.6 | +8.1 | +19.4 | +16.7 | +9.4 | +3.9 | +12.8 [+5.0, +20.6] | +20.0 |
| sentiment | SADI, gradient | +35.8 | +20.6 | +17.2 | +13.3 | -2.5 | +6.9 | +22.8 | +15.6 | +9.4 | +1.9 | +14.1 [+6.0, +22.2] | +5.8 |
| sentiment | SADI, effect | +37.2 | +21.4 | +17.5 | +38.1 | +18.3 | +21.9 | +25.6 | +30.3 | +29.7 | +33.9 | +27.4 [+20.9, +33.8] | +27.2 |
| sentiment | fixed, signed | +17.8 | +7.5 | +7.2 | +16.1 | +10.0 | +6.4 | +7.2 | +7.8 | +5.8 | +0.0 | +8.6 [+4.6, +12.5] | +12.2 |
| sentiment | fixed, effect | +13.6 | -6.1 | -0.8 | +3.1 | -0.3 | +1.9 | +5.0 | +0.0 | +0.0 | +0.0 | +1.6 [-2.1, +5.3] | +0.0 |
| effects | SADI, signed | -3.3 | -0.3 | +0.8 | +0.0 | -2.5 | +2.2 | +1.9 | +0.3 | +0.0 | +3.3 | +0.2 [-1.2, +1.7] | -0.6 |
| effects | SADI, magnitude | -0.8 | -1.4 | +1.9 | -0.6 | -3.1 | +1.7 | +2.2 | +0.8 | -1.7 | +3.6 | +0.3 [-1.2, +1.8] | +0.3 |
| effects | SADI, l2 | +1.9 | -1.7 | +1.1 | -1.1 | +0.0 | +1.4 | +0.8 | -2.5 | -0.6 | +1.9 | +0.1 [-1.0, +1.3] | +0.3 |
| effects | SADI, standardised | +0.6 | -1.1 | +0.8 | +0.6 | -1.7 | +1.9 | +0.3 | -3.6 | -0.8 | +6.7 | +0.4 [-1.6, +2.3] | -0.6 |
| effects | SADI, consistency | +0.0 | +1.9 | +0.8 | -0.8 | +0.6 | -1.4 | +3.3 | -2.8 | +0.0 | +1.4 | +0.3 [-1.0, +1.6] | -2.8 |
| effects | SADI, probe | -1.4 | +0.0 | +1.9 | -0.3 | +0.0 | -0.3 | -0.8 | +0.3 | -0.8 | +1.7 | +0.0 [-0.7, +0.8] | -0.6 |
| effects | SADI, attribution | -1.9 | -1.4 | +0.0 | -1.7 | -2.2 | -0.3 | +0.0 | -1.4 | +0.3 | +0.3 | -0.8 [-1.6, -0.1] | -2.2 |
| effects | SADI, gradient | -1.1 | +0.0 | +0.0 | -0.6 | +0.0 | +1.4 | +0.0 | -1.1 | -2.2 | +1.9 | -0.2 [-1.0, +0.7] | -4.2 |
| effects | SADI, effect | +1.7 | +0.3 | +4.7 | +1.7 | +0.8 | +3.3 | +5.3 | +5.6 | +5.8 | +3.1 | +3.2 [+1.7, +4.7] | -0.8 |
| effects | fixed, signed | -1.7 | +0.3 | +0.0 | -2.5 | +1.4 | +0.3 | +0.0 | +0.0 | +0.0 | +0.6 | -0.2 [-1.0, +0.6] | -1.4 |
| effects | fixed, effect | +0.6 | -2.2 | +0.0 | -0.6 | +0.8 | +1.1 | +0.0 | -3.1 | +0.0 | +0.8 | -0.2 [-1.2, +0.7] | -4.4 |

What it says: heads ranked by **effect** gain on all three tasks over seeds. The paper's **signed** ranking gains on sentiment, as
`magnitude` and `l2` do; on hints (+3.6 [-0.6, +7.8]) and effects no gain is shown. Fixed vectors as long on the same heads gain on
sentiment under the signed mask only. On hints the shipped weights gain more, by signed and by effect, than any of the ten: **tiny is a
lucky model**, good for showing what steering does, not how much.
"""
"""What ``train_tiny.seeds`` printed, the shipped weights beside it, and what it says."""
