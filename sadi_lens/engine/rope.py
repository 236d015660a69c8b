"""LongRoPE (Phi-3 and its kin) encodes all positions of a batch by its longest row: which rows may share one."""

from collections.abc import Iterator, Sequence

from sadi_lens.engine.text import batches_by_tokens
from sadi_lens.types.model import HookedModel


def rope_boundary(model: HookedModel) -> int | None:
    """Tokens beyond which LongRoPE (Phi-3 and its kin) encodes every position of a batch in another way, if it does."""
    config = model.original_model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [one for one in (rope, *rope.values()) if isinstance(one, dict)]
    found = [
        one.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        for one in kinds
        if one.get("rope_type") == "longrope"
    ]
    return min((int(one) for one in found if one), default=None)


def by_side(model: HookedModel, lengths: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Indices of texts that may share a batch without changing one another: on one side of ``rope_boundary``.

    Args:
        model: A bridged model.
        lengths: Tokens of the shortest and of the longest text of each item.

    Raises:
        ValueError: If an item has texts on both sides.
    """
    boundary = rope_boundary(model)
    if boundary is None:
        return [list(range(len(lengths)))]
    for shortest, longest in lengths:
        if shortest <= boundary < longest:
            raise ValueError(
                f"the texts of one item must be on one side of {boundary} tokens, where this model's LongRoPE changes "
                f"every position of a text; got texts of {shortest} to {longest} tokens"
            )
    sides = [
        [index for index, one in enumerate(lengths) if (one[1] > boundary) == is_long]
        for is_long in (False, True)
    ]
    return [one for one in sides if one]


def batches_on_one_side(
    model: HookedModel,
    lengths: Sequence[tuple[int, int]],
    sizes: Sequence[int],
    max_tokens: int,
) -> Iterator[list[int]]:
    """``batches_by_tokens`` of the sizes, within the groups of ``by_side``."""
    for members in by_side(model, lengths):
        for batch in batches_by_tokens([sizes[index] for index in members], max_tokens):
            yield [members[index] for index in batch]
