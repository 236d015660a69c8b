"""The position rule for an engine that runs a text in chunks: pure arithmetic on lengths.

It says the same as ``sadi_lens.engine.positions`` says from attention masks; no torch, no vLLM.
"""

from sadi_lens.types.base import POSITIONS, require_count, require_one_of


def first_edited(position: str, prompt_length: int) -> int:
    """Index in the text of the first edited token; what stands before is as in the unsteered model.

    Args:
        position: ``"last_prompt"``, ``"every_step"``, ``"generated"`` or ``"all"``.
        prompt_length: Tokens of the prompt as it was asked, at least 1; never counts what was generated since.

    Raises:
        ValueError: If the position is unknown or the prompt is empty.

    Example:
        >>> first_edited("last_prompt", 5), first_edited("all", 5)
        (4, 0)
    """
    require_one_of("position", position, POSITIONS)
    require_count("prompt_length", prompt_length)
    return 0 if position == "all" else prompt_length - (position != "generated")


def edited_span(position: str, prompt_length: int, computed: int, n_new: int) -> tuple[int, int]:
    """Which tokens of a chunk are edited.

    Args:
        position: ``"last_prompt"``, ``"every_step"``, ``"generated"`` or ``"all"``.
        prompt_length: Tokens of the prompt, at least 1.
        computed: Tokens of the text whose keys and values are there already; 0 again after a preemption.
        n_new: Tokens of the chunk.

    Returns:
        (start, stop) within the chunk; equal where nothing is edited.

    Raises:
        ValueError: If the position is unknown or the prompt is empty.

    Example:
        A prompt of 5 tokens in chunks of 3, then the first generated token:

        >>> [edited_span("every_step", 5, *chunk) for chunk in [(0, 3), (3, 2), (5, 1)]]
        [(3, 3), (1, 2), (0, 1)]
    """
    first = first_edited(position, prompt_length)
    require_count("computed", computed, 0)
    require_count("n_new", n_new, 0)
    start = min(max(0, first - computed), n_new)
    if position != "last_prompt":
        return start, n_new
    return start, max(start, min(n_new, first + 1 - computed))
