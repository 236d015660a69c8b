"""Contrastive pairs from items: which wrong answer a right one is set against, and whether labels balance."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from sadi_lens.types.answers import normalise, takes_space
from sadi_lens.types.base import require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample

if TYPE_CHECKING:
    import pandas as pd

NEGATIVES = {
    "random": "a wrong choice drawn at random (the paper's multiple-choice tasks)",
    "all": "every wrong choice, one pair each",
    "hard": "the wrong choice that the model itself finds most probable",
    "blank": "nothing: a single space (the paper's TriviaQA)",
    "other": "the right answer of another item",
    "toxic": "a toxic text (the paper's ToxiGen)",
}
BLANK = " "
IMBALANCE = 0.2
"""A label that is right this much more often than it is wrong is warned about."""
LABEL_SHARE = 0.1
"""Fewer distinct answers than this share of the pairs are taken for labels."""


@checked()
def make_pairs(
    items: Sequence[Sample],
    negatives: str = "random",
    *,
    seed: int = 0,
    choice_scores: Float[np.ndarray, "item choice"] | None = None,
    texts: Sequence[str] = (),
) -> tuple[ContrastivePair, ...]:
    """One pair (``"all"``: one for every wrong choice) for each item.

    Draws depend on the seed and the item's prompt only, so an item keeps its negative in any subset; with ``"other"``
    and ``"toxic"`` also on what there is to draw from. With ``"all"`` an item with more wrong choices counts more in
    the mean difference.

    Args:
        items: With choices, or with a target (``"blank"``, ``"other"`` and ``"toxic"`` only).
        negatives: One of ``NEGATIVES``.
        seed: Seed of random draws.
        choice_scores: Score of each choice for ``"hard"``, as in ``evaluate(model, items).choice_scores``.
        texts: Toxic texts for ``"toxic"``; fewer or more than items are both fine.

    Raises:
        ValueError: If there is no item, the name is unknown, or what the negatives need is missing.
    """
    require_one_of("negatives", negatives, NEGATIVES)
    if not items:
        raise ValueError("items must hold at least 1, got 0")
    if negatives in ("random", "all", "hard") and any(item.target is not None for item in items):
        raise ValueError(
            f"negatives={negatives!r} needs items with choices; for free text use 'blank' or 'other'"
        )
    if negatives == "toxic" and not any(text.strip() for text in texts):
        raise ValueError("negatives='toxic' needs texts, got none")
    if negatives == "hard":
        return _hard_pairs(items, choice_scores)
    answers = sorted({right_answer(item) for item in items})
    if negatives == "other" and len(answers) < 2:
        raise ValueError(f"negatives='other' needs items with different answers, got {answers}")
    pairs: list[ContrastivePair] = []
    for item in items:
        rng = Random(f"{seed}/{item.prompt}")
        right = right_answer(item)
        if negatives == "all":
            wrong = [item.choices[index] for index in item.wrong]
        elif negatives == "random":
            wrong = [item.choices[rng.choice(item.wrong)]]
        elif negatives == "blank":
            wrong = [BLANK]
        elif negatives == "toxic":
            wrong = [_spaced(item.prompt, rng.choice([t for t in texts if t.strip()]))]
        else:
            wrong = [rng.choice(_others(item, answers))]
        pairs += [ContrastivePair(item.prompt, right, one, cluster=item.cluster) for one in wrong]
    return tuple(pairs)


def _others(item: Sample, answers: Sequence[str]) -> list[str]:
    """Right answers of other items that are wrong for this one, however they are written.

    Raises:
        ValueError: If there is none.
    """
    also = (item.choices[index] for index in item.also_right)
    own = {normalise(one) for one in (right_answer(item), *also, *item.aliases)}
    found = [answer for answer in answers if normalise(answer) not in own]
    if not found:
        raise ValueError(
            f"negatives='other' needs another answer than those of {item.prompt[-40:]!r}, got {list(answers)}"
        )
    return found


def _hard_pairs(items: Sequence[Sample], scores: Any) -> tuple[ContrastivePair, ...]:
    if scores is None or len(scores) != len(items):
        got = "none" if scores is None else f"{len(scores)}"
        raise ValueError(
            f"negatives='hard' needs choice_scores of the {len(items)} items, got {got}; "
            "evaluate(model, items).choice_scores gives them"
        )
    pairs: list[ContrastivePair] = []
    for item, row in zip(items, scores, strict=True):
        found = [float(row[index]) for index in item.wrong]
        if not np.isfinite(found).all():
            raise ValueError(f"choice_scores must be finite, got {found} for {item.prompt[-40:]!r}")
        worst = item.wrong[int(np.argmax(found))]
        right, wrong = right_answer(item), item.choices[worst]
        pairs.append(ContrastivePair(item.prompt, right, wrong, cluster=item.cluster))
    return tuple(pairs)


def right_answer(item: Sample) -> str:
    """The right answer as it follows the prompt, leading space included."""
    if item.target is not None:
        return _spaced(item.prompt, item.target)
    assert item.answer is not None
    return item.choices[item.answer]


def _spaced(prompt: str, text: str) -> str:
    text = text.strip()
    return f" {text}" if takes_space(prompt, text) else text


@checked()
def answer_balance(pairs: Sequence[ContrastivePair]) -> "pd.DataFrame":
    """One row per answer: how often it is the right and the wrong one, and the excess (share of pairs)."""
    import pandas as pd

    right, wrong = (Counter(getattr(p, name) for p in pairs) for name in ("positive", "negative"))
    return pd.DataFrame(
        [
            {
                "answer": answer,
                "right": right[answer],
                "wrong": wrong[answer],
                "excess": (right[answer] - wrong[answer]) / len(pairs),
            }
            for answer in sorted(right | wrong)
        ]
    )


def balance_warning(pairs: Sequence[ContrastivePair]) -> str | None:
    """What is wrong with the labels of ``pairs``, or None where they balance or are not labels."""
    table = answer_balance(pairs)
    if len(table) > max(2, LABEL_SHARE * len(pairs)) or len(pairs) < 2:
        return None
    worst = max(table.to_dict("records"), key=lambda row: abs(row["excess"]))
    if abs(worst["excess"]) <= IMBALANCE:
        return None
    return (
        f"the answer {worst['answer']!r} is right in {worst['right']} and wrong in {worst['wrong']} of {len(pairs)} "
        "pairs. What tells it from the other answers does not cancel in the mean difference: the mask will partly "
        "hold the units of that label, whatever the question. Balance the pairs (balance_pairs), or add items."
    )


@checked()
def balance_pairs(
    pairs: Sequence[ContrastivePair], *, seed: int = 0
) -> tuple[ContrastivePair, ...]:
    """The largest subset in which "x right, y wrong" is as frequent as "y right, x wrong", for every x and y.

    Pairs left out are drawn at random; the order is kept.

    Raises:
        ValueError: If nothing is left (an answer is never on both sides).
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, pair in enumerate(pairs):
        groups[pair.positive, pair.negative].append(index)
    rng = Random(f"balance/{seed}")
    kept: list[int] = []
    for (right, wrong), members in sorted(groups.items()):
        mirrored = len(groups.get((wrong, right), ()))
        kept += rng.sample(members, min(len(members), mirrored))
    if not kept:
        raise ValueError(
            "no balanced pairs are left: no answer is right in one pair and wrong in another"
        )
    return tuple(pairs[index] for index in sorted(kept))
