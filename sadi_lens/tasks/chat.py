"""A task asked through a model's chat template: each prompt becomes messages, and the template renders them.

What comes out is a ``ChatPrompt``: its special tokens stand in the text already, so the tokenizer adds none, and its
tokens are those of ``apply_chat_template(..., tokenize=True)``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sadi_lens.types.chat_prompt import ChatPrompt
from sadi_lens.types.checks import checked
from sadi_lens.types.data import ContrastivePair, Sample, Task
from sadi_lens.types.wording import short

_PROBE = "ANSWER"
_LABEL = re.compile(r"\s*\n[ \t]*(?:[^\s:]+ ){0,3}[^\s:]+:[ \t]*\Z")
"""A last line that only announces the answer, such as ``Answer:`` or ``A:``."""
_BEGUN = re.compile(r"\s*\n[ \t]*(?:[^\s:]+ ){0,2}answer: *(?P<begun>\S[^\n]*)\Z", re.IGNORECASE)
"""A last line that begins the answer, such as ``Answer: It is``."""


@checked()
def with_chat_template(
    task: Task,
    tokenizer: Any,
    *,
    system: str | None = None,
    history: Sequence[Mapping[str, str]] = (),
    **template_arguments: Any,
) -> Task:
    """Every prompt as a user's message in the tokenizer's chat template, ready for the answer.

    A last line that only announces the answer (``Answer:``) is left out of the message; one that begins it
    (``Answer: It is``) begins the assistant's turn. Answers follow as the template itself writes an assistant's answer:
    without the space that parts them from a plain prompt, where the template has none.

    Args:
        task: Not yet rendered; add solved examples first (``with_examples``), or as ``history``.
        tokenizer: The model's own (``model.tokenizer``).
        system: System prompt; default the template's own, if it has one.
        history: Messages before the user's, as ``{"role": "user", "content": ...}``.
        **template_arguments: Passed to the template, such as ``enable_thinking=False``.

    Raises:
        ValueError: If the tokenizer has no chat template, the template refuses the messages, an argument is one that is
            set here, or the task is rendered already.
    """
    own = sorted(
        {"tokenize", "add_generation_prompt", "continue_final_message", "return_dict"}
        & set(template_arguments)
    )
    if own:
        raise ValueError(f"with_chat_template sets {own} itself; leave them out")
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "the model's tokenizer has no chat template: it was not tuned for chat, or the template was not saved "
            "with it. Ask the task as it is, or set tokenizer.chat_template"
        )
    before = [] if system is None else [{"role": "system", "content": system}]
    render = _Renderer(tokenizer, (*before, *history), template_arguments)
    return replace(
        task,
        pairs=tuple(render.pair(one) for one in task.pairs),
        prompts=tuple(render(one)[0] for one in task.prompts),
        **{
            split: tuple(render.sample(one) for one in getattr(task, split))
            for split in ("dev", "test", "pair_items")
        },
    )


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, str]], **options: Any) -> Any:
    """What a tokenizer's chat template makes of messages: text, or tokens.

    Raises:
        ValueError: If a message lacks its role or content, or the template refuses them or is at fault itself.
    """
    for one in messages:
        if not {"role", "content"} <= set(one):
            raise ValueError(
                f"a message of a chat must have 'role' and 'content', got {short(dict(one))}"
            )
    try:
        return tokenizer.apply_chat_template(list(messages), **options)
    except Exception as error:  # a template is a program, with faults of any kind
        roles = [one["role"] for one in messages]
        remedy = "; leave system out and put it into the question" if "system" in roles else ""
        raise ValueError(
            f"the chat template refuses messages of the roles {roles}: {error}{remedy}"
        ) from error


@dataclass(frozen=True)
class _Renderer:
    tokenizer: Any
    before: tuple[Mapping[str, str], ...]
    arguments: Mapping[str, Any]

    def __call__(self, prompt: str) -> tuple[ChatPrompt, Callable[[str], str]]:
        """The rendered prompt, and how an answer follows it."""
        if isinstance(prompt, ChatPrompt):
            raise ValueError(f"the task is in a chat template already (prompt {prompt[-40:]!r})")
        begun = _BEGUN.search(prompt)
        content = prompt[: begun.start()] if begun else _LABEL.sub("", prompt)
        messages = [*self.before, {"role": "user", "content": content}]
        head = self._apply(messages, add_generation_prompt=True)
        if begun:
            return ChatPrompt(f"{head}{begun['begun']}"), lambda answer: answer
        space = self._space(messages, head)
        # Nothing but a space is the wrong answer of open questions.
        return ChatPrompt(head), lambda answer: f"{space}{answer.strip()}" or answer

    def _space(self, messages: list[Mapping[str, str]], head: str) -> str:
        """What the template writes between its generation prompt and an assistant's answer: nothing, or a space."""
        whole = self._apply([*messages, {"role": "assistant", "content": _PROBE}])
        if not whole.startswith(head) or _PROBE not in whole[len(head) :]:
            return ""
        between = whole[len(head) : whole.index(_PROBE, len(head))]
        return between if between.isspace() else ""

    def _apply(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False
    ) -> str:
        options = {"tokenize": False, "add_generation_prompt": add_generation_prompt}
        return str(rendered(self.tokenizer, messages, **options, **self.arguments))

    def pair(self, pair: ContrastivePair) -> ContrastivePair:
        prompt, follow = self(pair.prompt)
        other, follow_other = None, follow
        if pair.negative_prompt is not None:
            other, follow_other = self(pair.negative_prompt)
        return replace(
            pair,
            prompt=prompt,
            positive=follow(pair.positive),
            negative=follow_other(pair.negative),
            negative_prompt=other,
        )

    def sample(self, sample: Sample) -> Sample:
        prompt, follow = self(sample.prompt)
        return replace(sample, prompt=prompt, choices=tuple(follow(one) for one in sample.choices))
