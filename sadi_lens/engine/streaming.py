"""Text that is shown while it is generated, for one prompt or a whole batch."""

import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor

Stream = Callable[[int, str], None]
"""Called with (index of the prompt, next piece of its text) as soon as there is one."""


def listener(stream: bool | Stream, n_prompts: int, beams: int) -> Stream | None:
    """The function that gets the pieces; None where nobody asked.

    Raises:
        ValueError: With beams, or if several texts would be written over one another.
    """
    if stream is False:
        return None
    if beams > 1:
        raise ValueError(
            f"stream needs num_beams=1, got {beams}: beams change texts they have begun"
        )
    if stream is not True:
        return stream
    if n_prompts != 1:
        raise ValueError(
            f"stream=True writes one text, got {n_prompts} prompts; pass a function of (index, piece)"
        )

    def write(_index: int, piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    return write


class Streamer:
    """Passes on the text of each row as it grows; what Hugging Face calls a streamer, for whole batches."""

    def __init__(
        self, tokenizer: Any, indices: list[int], told: Stream, skip_special_tokens: bool
    ) -> None:
        self.tokenizer, self.indices, self.told = tokenizer, indices, told
        self.skip = skip_special_tokens
        self.tokens: list[list[int]] | None = None
        self.said = [""] * len(indices)

    def put(self, value: Tensor) -> None:
        """The prompts first, then one token a row at each step."""
        if self.tokens is None:
            self.tokens = [[] for _ in self.indices]
            return
        for own, token in zip(self.tokens, value.tolist(), strict=True):
            own.append(token)
        self._tell(is_end=False)

    def end(self) -> None:
        """Nothing more comes: also what may have been half a letter."""
        self._tell(is_end=True)

    def _tell(self, *, is_end: bool) -> None:
        for row, own in enumerate(self.tokens or ()):
            text: str = self.tokenizer.decode(own, skip_special_tokens=self.skip)
            # A letter of several tokens decodes to the replacement character until the last of them is there.
            said = self.said[row]
            is_ready = is_end or (text.startswith(said) and not text.endswith("\ufffd"))
            if is_ready and len(text) > len(said):
                self.told(self.indices[row], text[len(said) :])
                self.said[row] = text
