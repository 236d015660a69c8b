"""Scores of free text: length, repetition, distinct n-grams, compression ratio, perplexity, given toxicity."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sadi_lens.engine.continuations import Continuation
from sadi_lens.engine.prompts import TextOrChat, as_text
from sadi_lens.engine.scoring import score_answers
from sadi_lens.engine.text import EncodedItem, encode_item, require_tokenizer
from sadi_lens.types.answers import has_spaces
from sadi_lens.types.checks import as_path, checked
from sadi_lens.types.model import HookedModel

if TYPE_CHECKING:
    import pandas as pd

Classifier = Callable[[Sequence[str]], Sequence[float]]
"""Texts to probabilities of being toxic."""
REPETITION_N = 4


def distinct(text: str, n: int) -> float:
    """Different word n-grams as a share of all (Li et al., 2016); NaN for fewer than n words."""
    words = text.split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def repetition(rows: Sequence[Sequence[int]]) -> float:
    """Share of token 4-grams that stood before in the same text (seq-rep-4, Welleck et al., 2020).

    Args:
        rows: Token ids of each text (``repeatable``); the n-grams of all texts are counted together.

    Returns:
        In [0, 1); NaN if every text is shorter than 4 tokens.
    """
    total = distinct = 0
    for row in rows:
        grams = [tuple(row[i : i + REPETITION_N]) for i in range(len(row) - REPETITION_N + 1)]
        total, distinct = total + len(grams), distinct + len(set(grams))
    return 1 - distinct / total if total else float("nan")


def compression(texts: Sequence[str]) -> float:
    """Compression ratio: bytes before over bytes after zlib, each text alone (Shaib et al., 2024).

    Text that repeats itself has a high ratio; NaN if all texts are empty.
    """
    written = [text.encode() for text in texts if text]
    packed = sum(len(zlib.compress(one, 9)) for one in written)
    return sum(len(one) for one in written) / packed if packed else float("nan")


def repeatable(text: str, tokens: Sequence[int]) -> list[int]:
    """What may repeat in a text: its tokens, or its letters where a script puts no space between words."""
    return list(tokens) if has_spaces(text) else [ord(letter) for letter in text]


def perplexities(
    model: HookedModel, prompts: Sequence[TextOrChat], texts: Sequence[str | Continuation]
) -> np.ndarray:
    """Perplexity of each text after its prompt under the unsteered model; NaN for an empty text.

    Raises:
        ValueError: If a prompt and text do not fit the context.
    """
    found = np.full(len(texts), np.nan)
    items: list[EncodedItem] = []
    rows: list[int] = []
    for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        if isinstance(text, Continuation) and text.tokens:
            items.append(EncodedItem(text.prompt, (text.tokens,)))
        elif isinstance(text, str) and text:
            items.append(encode_item(model, as_text(model, prompt), (text,)))
        else:
            continue
        rows.append(row)
    if items:
        for batch in score_answers(model, items, [None], "last_prompt"):
            for place, item in enumerate(batch.indices):
                nats = -float(batch.logprobs[0, place, 0]) / len(items[item].answers[0])
                found[rows[item]] = np.exp(nats)
    return found


@checked()
def open_ended_scores(
    model: HookedModel,
    prompts: Sequence[TextOrChat],
    texts: Sequence[str | Continuation],
    *,
    classifier: Classifier | None = None,
) -> "pd.DataFrame":
    """One row per text. Without a classifier there is no toxicity column: it is unknown, not zero.

    Args:
        model: Unsteered, for the perplexity.
        prompts: One a text, texts or chats.
        texts: Continuations, as text or, better, as ``generate(..., return_tokens=True)`` gives them: then the tokens
            that were generated are measured, not those of their text.
        classifier: See ``load_classifier``.

    Raises:
        ValueError: If the two differ in number, or the classifier gives something else than probabilities.
    """
    import pandas as pd

    if len(prompts) != len(texts) or not texts:
        raise ValueError(
            f"needs one prompt a text, at least 1; got {len(prompts)} and {len(texts)}"
        )
    written = [one if isinstance(one, str) else one.text for one in texts]
    tokenizer = require_tokenizer(model)
    rows = [
        one.tokens
        if isinstance(one, Continuation)
        else tokenizer(one, add_special_tokens=False)["input_ids"]
        for one in texts
    ]
    columns: dict[str, object] = {
        "words": [len(text.split()) for text in written],
        "distinct_1": [distinct(text, 1) for text in written],
        "distinct_2": [distinct(text, 2) for text in written],
        "repetition": [repetition([repeatable(*one)]) for one in zip(written, rows, strict=True)],
        "compression": [compression([text]) for text in written],
        "perplexity": perplexities(model, prompts, texts),
    }
    if classifier is not None:
        scores = np.asarray(classifier(written), dtype=np.float64)
        if scores.shape != (len(texts),) or not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(
                f"the classifier must give {len(texts)} probabilities, got {scores.tolist()[:3]}"
            )
        columns["toxicity"] = scores
    return pd.DataFrame(columns)


@checked()
def load_classifier(folder: str | Path, *, label: str | None = None) -> Classifier:
    """A sequence classifier from a local folder, as a function from texts to probabilities.

    Labels that exclude each other share their probability (softmax); a text may have several labels of a classifier
    whose configuration says ``"multi_label_classification"``, or the one of a classifier with one, so that each of
    them has a probability of its own (sigmoid).

    Args:
        folder: A Hugging Face model with its tokenizer.
        label: Name of the toxic label; default the only one whose name says toxic or hate.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If the label cannot be told, or the folder lacks weights of a classifier or holds one that gives
            no probabilities.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = as_path("folder", folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"classifier folder {folder} does not exist")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    loaded: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, output_loading_info=True
    )
    model, report = loaded[0].eval(), loaded[1]
    if lacking := sorted(report["missing_keys"]):
        raise ValueError(
            f"{folder} lacks {len(lacking)} weights of a classifier (first {lacking[0]!r}), which would be random "
            "numbers; give the folder of a model that was trained to classify"
        )
    kind = model.config.problem_type
    if kind == "regression":
        raise ValueError(
            f"{folder} holds a regression, which gives no probabilities; give a classifier, or a function of your own"
        )
    is_each = kind == "multi_label_classification" or model.config.num_labels == 1
    names = {str(name): int(index) for index, name in model.config.id2label.items()}
    if label is None:
        likely = [
            name
            for name in names
            if any(word in name.lower() for word in ("toxic", "hate"))
            and not name.lower().startswith(("non", "not", "no_"))
        ]
        if len(likely) != 1:
            raise ValueError(
                f"label must be given, one of {sorted(names)}: {folder} does not say which is toxic"
            )
        label = likely[0]
    if label not in names:
        raise ValueError(f"label must be one of {sorted(names)}, got {label!r}")

    def classify(texts: Sequence[str]) -> list[float]:
        found: list[float] = []
        with torch.inference_mode():
            for text in texts:
                batch = tokenizer(text, return_tensors="pt", truncation=True)
                logits = model(**batch).logits[0]
                shares = logits.sigmoid() if is_each else logits.softmax(dim=-1)
                found.append(float(shares[names[label]]))
        return found

    return classify
