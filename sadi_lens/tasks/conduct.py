"""TruthfulQA, ToxiGen and the behaviours of CAA: how a model answers, not only what it knows.

TruthfulQA: Lin et al. (2022), Apache-2.0. ToxiGen: Hartvigsen et al. (2022), MIT, gated on the Hub.
CAA's A/B questions: Panickssery et al. (2024), MIT.
"""

from collections.abc import Mapping
from typing import Any

from sadi_lens.tasks.benchmark import ONE_SOURCE, Benchmark, label_of, text_of, texts_of
from sadi_lens.types.data import Sample

CAA_BEHAVIOURS = (
    "sycophancy", "coordinate-other-ais", "corrigible-neutral-HHH", "hallucination",
    "myopic-reward", "refusal", "survival-instinct",
)  # fmt: skip


def read_truthfulqa(row: Mapping[str, Any]) -> Sample:
    """Question, Best Answer, Correct Answers, Incorrect Answers (separated by semicolons, or lists).

    Choice 0 is the best answer, then the other correct ones (``also_right``), then the incorrect ones, which gives
    MC1, MC2 and MC3 (``sadi_lens.measure.truthful_scores``). An answer that the data set calls both correct
    and incorrect is left out.
    """
    question = text_of(row, "Question", "question")
    best = text_of(row, "Best Answer", "best_answer")
    correct = _answers(row, "Correct Answers", "correct_answers")
    incorrect = _answers(row, "Incorrect Answers", "incorrect_answers")
    both = set(correct) & set(incorrect) | ({best} & set(incorrect))
    right = list(dict.fromkeys(one for one in (best, *correct) if one not in both or one == best))
    wrong = [one for one in dict.fromkeys(incorrect) if one not in both]
    if not wrong:
        raise ValueError(f"needs at least one incorrect answer, got {incorrect}")
    choices = tuple(f" {one}" for one in (*right, *wrong))
    return Sample(f"Q: {question}\nA:", choices, 0, also_right=tuple(range(1, len(right))))


def _answers(row: Mapping[str, Any], *names: str) -> list[str]:
    found = next((row[name] for name in names if name in row), None)
    if found is None:
        raise ValueError(f"lacks the column {names[0]!r}; got {sorted(row)}")
    return texts_of(names[0], found.split(";") if isinstance(found, str) else found)


def read_toxigen(row: Mapping[str, Any]) -> Sample:
    """prompt, generation: the prompt is continued freely and scored by a classifier, never by match.

    The generation is the positive answer of a pair; toxic texts are the negatives (``make_pairs``).
    """
    return Sample(text_of(row, "prompt"), target=text_of(row, "generation"))


def is_neutral(row: Mapping[str, Any]) -> bool:
    """prompt_label 0: a row made from neutral prompts; those made from hateful ones (1) are no positive answers.

    A row of a local file without that column is one that was chosen by hand.
    """
    return "prompt_label" not in row or label_of(row, "prompt_label", 2) == 0


def read_behaviour(row: Mapping[str, Any]) -> Sample:
    """Question with choices (A) and (B), answer_matching_behavior, answer_not_matching_behavior.

    The right answer is the one that matches the behaviour: the share of right answers is how often the model
    shows it.
    """
    matching = text_of(row, "answer_matching_behavior")
    other = text_of(row, "answer_not_matching_behavior")
    choices = tuple(sorted({f" {matching}", f" {other}"}))
    prompt = f"{text_of(row, 'question')}\n\nAnswer:"
    return Sample(prompt, choices, choices.index(f" {matching}"))


CONDUCT = (
    Benchmark(
        name="truthfulqa",
        licence="Apache-2.0 (Lin et al., 2022)",
        columns="Question, Best Answer, Correct Answers, Incorrect Answers (separated by semicolons)",
        read=read_truthfulqa,
        hub="truthfulqa/truthful_qa",
        hub_config="generation",
        hub_plan=dict.fromkeys(("pairs", "dev", "test"), "validation"),
        local_plans=(dict.fromkeys(("pairs", "dev", "test"), "truthfulqa"), ONE_SOURCE),
        folder="truthfulqa",
    ),
    Benchmark(
        name="toxigen",
        licence="MIT (Hartvigsen et al., 2022)",
        columns="prompt, generation; prompt_label (0 neutral, 1 hateful), where there are both",
        read=read_toxigen,
        keeps=is_neutral,
        hub="toxigen/toxigen-data",
        hub_config="train",
        hub_plan=dict.fromkeys(("pairs", "dev", "test"), "train"),
        local_plans=(ONE_SOURCE,),
        folder="toxigen",
        negatives="toxic",
        is_open=True,
    ),
    Benchmark(
        name="caa",
        licence="MIT (Panickssery et al., 2024)",
        columns="question, answer_matching_behavior, answer_not_matching_behavior",
        read=read_behaviour,
        hub="",
        hub_plan={},
        local_plans=({"pairs": "generate", "dev": "generate", "test": "test_ab"},),
        folder="caa",
        file="{subset}.{split}",
        subsets=CAA_BEHAVIOURS,
    ),
)
