"""A prompt that a chat template rendered: what tells it from plain text must not get lost on the way to the tokens."""


class ChatPrompt(str):
    """A prompt that a chat template rendered: special tokens stand in its text, and the tokenizer adds none to it.

    It stays one with a text before or behind it.

    >>> [type(one).__name__ for one in (ChatPrompt("a") + " b", "" + ChatPrompt("a"))]
    ['ChatPrompt', 'ChatPrompt']
    """

    __slots__ = ()

    def __add__(self, answer: str) -> "ChatPrompt":
        return ChatPrompt(str(self) + answer)

    def __radd__(self, before: str) -> "ChatPrompt":
        return ChatPrompt(before + str(self))
