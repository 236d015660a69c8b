"""Answers: the ways to score one, when a text is right, what a prompt is without its question."""

import unicodedata
from collections.abc import Sequence

import regex

SCORINGS = {
    "sum": "log-probability of the choice, summed over its tokens",
    "per_token": "mean log-probability of the choice's tokens",
    "per_byte": "log-probability of the choice per byte of its text (lm-evaluation-harness: acc_norm, per character)",
    "pmi": "log-probability of the choice minus the same after the prompt's last line alone (Holtzman et al., 2021)",
    "teacher_forced": "the most likely tokens spell the right answer, each given the right answer before it",
    "generation": "the greedy continuation is the right answer",
}
"""How an answer is scored. ``"teacher_forced"`` is what SADI's reference code reports: an answer of several tokens
gets its own beginning for free, and a model that prefers another word altogether is wrong."""


_UNSEEN = regex.compile(r"[\p{Cf}\p{Variation_Selector}\u0640]")
"""Zero-width spaces, direction marks, soft hyphens, variation selectors, the Arabic tatweel."""
_POWER = regex.compile(r"[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_FRACTION = regex.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])")
_DASH = regex.compile(r"[\p{Pd}\u2212]")
_THOUSANDS = regex.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MEANT = (
    r"(?<![\w\p{M}])-(?=[.,]?\d)"  # -5
    r"|(?<=\d)[-.,:/*](?=\d)"  # 1990-1995, 3.5, 10:30, 1/2
    r"|(?<![\w\p{M}])[.,](?=\d)"  # .5
    r"|(?<=\d)%|(?<=\w)#"  # 50%, C#
    r"|(?<=\w)[&@](?=\w)"  # R&D
)
"""Punctuation without which a text says something else."""
_PUNCTUATION = regex.compile(rf"(?:{_MEANT})(*SKIP)(*FAIL)|[\p{{P}}`\u00b4\u00a8]|(?<!\S)\+(?=\d)")
_PERCENT = regex.compile(r"(?<=\d) (?=%)")
_LINE_END = regex.compile(r"[\n\r\v\f\x85\u2028\u2029]")
_SENTENCE_END = regex.compile(
    r"[.!?\u2026](?=[\p{Pf}\p{Pe}\"']*(?:\s|$))|[\u3002\uff01\uff1f\uff0e\uff61\u0964\u0965\u061f\u06d4]"
)
"""A full stop, exclamation or question mark at the end of a word; those of Chinese, Hindi, Urdu, Arabic anywhere."""


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces (Rajpurkar et al., 2016), in any script.

    Compatibility forms are one (NFKC: full-width letters, composed accents; digits of any script), case is folded,
    what cannot be seen goes (zero-width spaces, direction marks). Punctuation goes unless the text says something
    else without it: -5, 3.5, 1/2, 50%, C++, C#. Where nothing would be left (an answer "A"), articles and then
    punctuation stay.

    Example:
        >>> normalise("The “Big” café."), normalise("是。"), normalise("-5 %")
        ('big café', '是', '-5%')
    """
    text = _FRACTION.sub(" ", _UNSEEN.sub("", text))
    text = _POWER.sub(lambda found: f"^{found[0]}", text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = text.replace("i\u0307", "i").replace(
        "\u2044", "/"
    )  # of a capital dotted I; of a fraction
    text = "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text)
    text = " ".join(_THOUSANDS.sub("", _DASH.sub("-", text)).split())
    bare = " ".join(_PUNCTUATION.sub("", _PERCENT.sub("", text)).split())
    return " ".join(regex.sub(r"\b(a|an|the)\b(?![+#])", " ", bare).split()) or bare or text


def matches(text: str, targets: str | Sequence[str]) -> bool:
    """Whether a generated answer is a target: its first line, or the first sentence of that, after ``normalise``.

    Example:
        >>> matches("“Yes”. I am sure.", "Yes"), matches("是。", "是"), matches("-5", "5")
        (True, True, False)
    """
    line = _LINE_END.split(_UNSEEN.sub("", text).strip(), maxsplit=1)[0]
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0]
    found = (normalise(line), normalise(sentence))
    return any(
        normalise(one) in found for one in ([targets] if isinstance(targets, str) else targets)
    )


_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\u3000-\u303f\uff00-\uffef]"
)
"""Letters and marks of scripts that put no space between words."""


def has_spaces(text: str) -> bool:
    """Whether most letters of a text are of scripts that put spaces between words."""
    letters = regex.findall(r"\p{L}", text)
    return 2 * len(_UNSPACED.findall("".join(letters))) <= len(letters)


def takes_space(prompt: str, answer: str) -> bool:
    """Whether a space parts an answer from its prompt: not behind a space or an opening quote, not in Chinese."""
    before, after = prompt[-1:], answer[:1]
    if not before or before.isspace() or before in "\"'":
        return False
    is_open = unicodedata.category(before) in ("Ps", "Pi")
    return not (is_open or _UNSPACED.match(before) or _UNSPACED.match(after))


def lacks_space(prompt: str, answer: str) -> bool:
    """Whether an answer begins with a letter or digit that runs on from its prompt."""
    return answer[:1].isalnum() and takes_space(prompt, answer)


def neutral_prompt(prompt: str) -> str:
    """The last line of a prompt, such as "Answer:": the prompt without its question.

    Raises:
        ValueError: If the prompt has one line only.
    """
    head, _, last = prompt.rstrip().rpartition("\n")
    if not head.strip():
        raise ValueError(
            f"scoring='pmi' needs prompts of several lines, whose last one ('Answer:', say) stands for the prompt "
            f"without its question; got {prompt[-40:]!r}"
        )
    return last + prompt[len(prompt.rstrip()) :]
