"""A task asked through a model's chat template: each prompt becomes messages, and the template renders them.

What comes out is a ``ChatPrompt``: its special tokens stand in the text already, so the tokenizer adds none, and its
tokens are those of ``apply_chat_template(..., tokenize=True)``.
"""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
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
_OPENED = re.compile(r"[<\[][^/<>\[\]]+[>\]]\s*\Z")
"""A mark that opens something, such as ``<think>``."""


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
    without the space or line break that parts them from a plain prompt, where the template has none. All else stays as
    it is, blanks behind an answer included.

    Args:
        task: Not yet rendered; add solved examples first (``with_examples``), or as ``history``.
        tokenizer: The model's own (``model.tokenizer``).
        system: System prompt; default the template's own, if it has one.
        history: Messages before the user's, as ``{"role": "user", "content": ...}``.
        **template_arguments: Passed to the template, such as ``enable_thinking=False``.

    Raises:
        ValueError: If the tokenizer has no chat template, the template refuses the messages or leaves one out, an
            argument is one that is set here or that the template does not know, or the task is rendered already.

    Warns:
        UserWarning: If a model that follows the template writes something else, such as its thoughts, before an answer.
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
    _require_known(tokenizer, template_arguments)
    before = [] if system is None else [{"role": "system", "content": system}]
    render = _Renderer(tokenizer, (*before, *history), template_arguments)
    probe = [*render.before, {"role": "user", "content": _PROBE}]
    require_told(tokenizer, probe, **template_arguments)
    _warn_of_thoughts(*render.around_answer(probe))
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


def require_told(tokenizer: Any, messages: Sequence[Mapping[str, str]], **arguments: Any) -> None:
    """Refuse messages of which the template leaves one out: the model would never read it.

    Raises:
        ValueError: If another content of a message would make no difference, or as ``rendered``.
    """

    def text(given: Sequence[Mapping[str, str]]) -> str:
        options = {"tokenize": False, "add_generation_prompt": True}
        return rendered(tokenizer, given, **options, **arguments)

    whole = text(messages)
    for place, one in enumerate(messages):
        changed = {**one, "content": f"{one['content']} {_PROBE}"}
        if text([*messages[:place], changed, *messages[place + 1 :]]) == whole:
            remedy = (
                "leave system out and put it into the question"
                if one["role"] == "system"
                else "leave it out, or mend its role"
            )
            raise ValueError(
                f"the chat template leaves out message {place} ({one['role']!r}: {short(one['content'])}), which the "
                f"model would not read; {remedy}"
            )


def _require_known(tokenizer: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that no template names: they would do nothing."""
    own = tokenizer.chat_template
    texts = list(own.values()) if isinstance(own, Mapping) else [own]
    texts.append(str(arguments.get("chat_template", "")))
    known = {word for text in texts for word in re.findall(r"\w+", text)} | {"chat_template"}
    if unknown := sorted(set(arguments) - known):
        raise ValueError(
            f"the chat template knows no argument {', '.join(map(repr, unknown))}, which would do nothing; leave it "
            "out, or mend its name"
        )


def _warn_of_thoughts(opened: str, between: str) -> None:
    """Warn of a template in which answers do not follow where the model begins."""
    if _OPENED.search(opened):
        fault = (
            f"the chat template's generation prompt opens {opened!r}, which the answers follow here"
        )
    elif between.strip():
        fault = f"the chat template writes {between!r} before an answer, which stands not in the prompts"
    else:
        return
    warnings.warn(
        f"{fault}: answers are measured where a model that keeps to the template writes something else first. If it "
        "has an argument for that (enable_thinking=False), pass it",
        stacklevel=4,
    )


def _parted(answer: str) -> str:
    return answer[1:] if answer[:1].isspace() else answer


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
        between = self.around_answer(messages, head)[1]
        space = between if between.isspace() else ""
        if begun:
            return ChatPrompt(f"{head}{space}{begun['begun']}"), lambda answer: answer
        # Nothing but a space is the wrong answer of open questions.
        return ChatPrompt(head), lambda answer: f"{space}{_parted(answer)}" or answer

    def around_answer(
        self, messages: Sequence[Mapping[str, str]], head: str | None = None
    ) -> tuple[str, str]:
        """What the generation prompt holds that no answer of the template follows, and what stands between the two."""
        head = self._apply(messages, add_generation_prompt=True) if head is None else head
        whole = self._apply([*messages, {"role": "assistant", "content": _PROBE}])
        if not whole.startswith(head):
            shared = sum(
                1 for _ in takewhile(lambda two: two[0] == two[1], zip(head, whole, strict=False))
            )
            return head[shared:], ""
        between, found, _ = whole[len(head) :].partition(_PROBE)
        return "", between if found else ""

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
