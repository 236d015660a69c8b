"""SST-2 and SST-5, XNLI, BoolQ: label a text with one of a few words.

Stanford Sentiment Treebank: Socher et al. (2013), research use. XNLI: Conneau et al. (2018), CC BY-NC 4.0.
BoolQ: Clark et al. (2019), CC BY-SA 3.0.
"""

import re
from collections.abc import Mapping
from typing import Any

from sadi_lens.tasks.benchmark import ONE_SOURCE, Benchmark, label_of, text_of
from sadi_lens.types.base import require_one_of
from sadi_lens.types.data import Sample

SST2_LABELS = (" Negative", " Positive")
SST5_LABELS = (" Very negative", " Negative", " Neutral", " Positive", " Very positive")
XNLI_LABELS = (" True", " Unclear", " False")
"""Entailment, neutral, contradiction."""
BOOLQ_LABELS = (" No", " Yes")
XNLI_LANGUAGES = (
    "en", "ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh",
)  # fmt: skip
_WRAPPED = re.compile(
    r"question: (?P<question>.*?)\s*Answer format: true/false\s*$", re.DOTALL | re.IGNORECASE
)


def _sentiment(row: Mapping[str, Any], labels: tuple[str, ...]) -> Sample:
    words = ", ".join(f"'{label.strip()}'" for label in labels)
    prompt = (
        f"Judge the sentiment of this text. Answer with one of {words}.\n\n"
        f"{text_of(row, 'sentence', 'text')}\n\nAnswer:"
    )
    return Sample(prompt, labels, label_of(row, "label", len(labels)))


def read_sst2(row: Mapping[str, Any]) -> Sample:
    """Sentence (or text), label 0 negative or 1 positive."""
    return _sentiment(row, SST2_LABELS)


def read_sst5(row: Mapping[str, Any]) -> Sample:
    """Sentence (or text), label 0 very negative to 4 very positive."""
    return _sentiment(row, SST5_LABELS)


def read_xnli(row: Mapping[str, Any]) -> Sample:
    """premise, hypothesis, label 0 entailment, 1 neutral, 2 contradiction."""
    prompt = (
        "Given the premise, is the hypothesis 'True', 'False' or 'Unclear'?\n"
        f"Premise: {text_of(row, 'premise')}\nHypothesis: {text_of(row, 'hypothesis')}\nAnswer:"
    )
    return Sample(prompt, XNLI_LABELS, label_of(row, "label", 3), cluster=text_of(row, "premise"))


def read_boolq(row: Mapping[str, Any]) -> Sample:
    """question, passage, answer true or false; or instruction, answer without a passage (closed book)."""
    answer = str(row.get("answer", "")).lower()
    require_one_of("answer", answer, ("true", "false"))
    passage: str | None = None
    if "instruction" in row:
        found = _WRAPPED.search(text_of(row, "instruction"))
        if found is None:
            raise ValueError("column 'instruction' must hold a question and its answer format")
        head, question = "Answer the question with 'Yes' or 'No'.\n\n", found["question"]
    else:
        passage = text_of(row, "passage")
        head = (
            "Does the passage say that the answer to the question is yes? Answer with 'Yes' or 'No'.\n\n"
            f"Passage: {passage}\n\n"
        )
        question = text_of(row, "question")
    prompt = f"{head}Question: {question}\n\nAnswer:"
    return Sample(prompt, BOOLQ_LABELS, int(answer == "true"), cluster=passage)


_THREE_FILES = ({"pairs": "train", "dev": "dev", "test": "test"},)

JUDGEMENT = (
    Benchmark(
        name="sst2",
        licence="research use (Socher et al., 2013)",
        columns="sentence, label (0 or 1)",
        read=read_sst2,
        hub="SetFit/sst2",
        hub_plan={"pairs": "train", "dev": "validation", "test": "test"},
        local_plans=_THREE_FILES,
        folder="sst2",
    ),
    Benchmark(
        name="sst5",
        licence="research use (Socher et al., 2013)",
        columns="sentence, label (0 to 4)",
        read=read_sst5,
        hub="SetFit/sst5",
        hub_plan={"pairs": "train", "dev": "validation", "test": "test"},
        local_plans=_THREE_FILES,
        folder="sst5",
    ),
    Benchmark(
        name="xnli",
        licence="CC BY-NC 4.0 (Conneau et al., 2018)",
        columns="premise, hypothesis, label (0 entailment, 1 neutral, 2 contradiction)",
        read=read_xnli,
        hub="facebook/xnli",
        hub_config="{subset}",
        hub_plan={"pairs": "validation", "dev": "validation", "test": "test"},
        local_plans=(
            {"pairs": "validation", "dev": "validation", "test": "test"},
            ONE_SOURCE,
        ),
        folder="xnli",
        file="{split}.{subset}",
        subsets=XNLI_LANGUAGES,
    ),
    Benchmark(
        name="boolq",
        licence="CC BY-SA 3.0 (Clark et al., 2019)",
        columns="question, passage, answer (true or false); or instruction, answer",
        read=read_boolq,
        hub="google/boolq",
        hub_plan={"pairs": "train", "dev": "train", "test": "validation"},
        local_plans=({"pairs": "train", "dev": "train", "test": "test"}, ONE_SOURCE),
        folder="boolq_closed_book",
    ),
)
