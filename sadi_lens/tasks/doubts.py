"""What may be a slip in a user's rows: said, never repaired."""

from collections.abc import Hashable, Sequence

from sadi_lens.types.data import ContrastivePair, Sample


def doubts(rows: Sequence[tuple[str, ContrastivePair | Sample]]) -> list[str]:
    """Rows that stand again, and rows that contradict an earlier one, in words.

    Args:
        rows: (where, pair or sample), in their order.

    >>> asked = Sample("2 + 2 =", (" 4", " 5"), 0), Sample("2 + 2 =", (" 5", " 4"), 0)
    >>> doubts([("row 0", asked[0]), ("row 1", asked[1])])[0][:80]
    'rows that give another answer than an earlier one to the same: 1, first row 1 an'
    """
    first: dict[Hashable, str] = {}
    answered: dict[Hashable, tuple[str, set[str]]] = {}
    repeats: list[tuple[str, str]] = []
    against: list[tuple[str, str]] = []
    for where, one in rows:
        if one.cluster is None and one in first:
            repeats.append((where, first[one]))
        first.setdefault(one, where)
        asked, right = _asked(one)
        before, earlier = answered.setdefault(asked, (where, right))
        if not right & earlier:
            against.append((where, before))
    said: list[str] = []
    if repeats:
        said.append(
            f"rows that are an earlier row of their split again: {len(repeats)}, first {repeats[0][0]} = "
            f"{repeats[0][1]}. Every interval counts them as one draw. Leave them out if they are a slip; if they are "
            "meant, give them one cluster"
        )
    if against:
        said.append(
            f"rows that give another answer than an earlier one to the same: {len(against)}, first {against[0][0]} "
            f"and {against[0][1]}. No model can answer both right, and such pairs cancel in the mean difference"
        )
    return said


def _asked(one: ContrastivePair | Sample) -> tuple[Hashable, set[str]]:
    """What a row asks for, and its right texts; a free answer may be one of several."""
    if isinstance(one, ContrastivePair):
        return frozenset(one.texts), {one.texts[0]}
    if one.answer is None:
        return one, {one.target or ""}
    right = {one.choices[index] for index in (one.answer, *one.also_right)}
    return (one.prompt, frozenset(one.choices)), right
