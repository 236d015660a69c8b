"""How the replies of ``kindness`` begin: kind, unkind, or like neither."""

from collections.abc import Sequence

from sadi_lens.types.data import ContrastivePair

OPENING = 3
"""Words that tell kind and unkind replies of the embedded world apart."""


def openings(pairs: Sequence[ContrastivePair], texts: Sequence[str]) -> dict[str, float]:
    """Share of texts that open as a right answer of the pairs does, as a wrong one does, and as neither.

    Args:
        pairs: Right and wrong replies, none of which open alike.
        texts: At least one, to be sorted by their first three words.

    Raises:
        ValueError: If there is no text, or a right and a wrong answer open with the same words.
    """
    if not texts:
        raise ValueError("texts must hold at least 1, got 0")
    kind = {_opening(pair.positive) for pair in pairs}
    unkind = {_opening(pair.negative) for pair in pairs}
    if kind & unkind:
        raise ValueError(
            f"right and wrong answers must open differently, both open with {min(kind & unkind)!r}"
        )
    found = [_opening(text) for text in texts]
    shares = {
        "kind": sum(one in kind for one in found) / len(found),
        "unkind": sum(one in unkind for one in found) / len(found),
    }
    return shares | {"neither": max(0.0, 1 - sum(shares.values()))}


def _opening(text: str) -> str:
    return " ".join(text.split()[:OPENING])
