"""MMLU and TriviaQA: questions about the world.

MMLU: Hendrycks et al. (2021), MIT. TriviaQA: Joshi et al. (2017), Apache-2.0.
"""

from collections.abc import Mapping
from typing import Any

from sadi_lens.tasks.benchmark import (
    LETTERS,
    ONE_SOURCE,
    Benchmark,
    label_of,
    lettered,
    letters,
    text_of,
    texts_of,
)
from sadi_lens.types.base import require_one_of
from sadi_lens.types.data import Sample

_STEM = """abstract_algebra astronomy college_biology college_chemistry college_computer_science
college_mathematics college_physics computer_security conceptual_physics electrical_engineering
elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science
high_school_mathematics high_school_physics high_school_statistics machine_learning"""
_HUMANITIES = """formal_logic high_school_european_history high_school_us_history high_school_world_history
international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory
professional_law world_religions"""
_SOCIAL = """econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics
high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations
security_studies sociology us_foreign_policy"""
_OTHER = """anatomy business_ethics clinical_knowledge college_medicine global_facts human_aging management
marketing medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology"""
MMLU_DOMAINS = {
    subject: domain
    for domain, subjects in (
        ("stem", _STEM),
        ("humanities", _HUMANITIES),
        ("social", _SOCIAL),
        ("other", _OTHER),
    )
    for subject in subjects.split()
}
"""Subject -> domain, after Hendrycks et al. (2021)."""


def read_mmlu(row: Mapping[str, Any]) -> Sample:
    """question, A, B, C, D, answer letter; or question, choices, answer 0 to 3."""
    options, answer = _options(row)
    prompt = (
        f"Question: {text_of(row, 'question')}\n{lettered(options)}\n"
        "Which answer is correct? Give its letter.\nAnswer:"
    )
    return Sample(prompt, letters(4), answer)


def cloze_mmlu(row: Mapping[str, Any], domain: str | None) -> Sample:  # noqa: ARG001  # one signature
    """The columns of ``read_mmlu``; the options themselves are the choices, one that stands there twice once."""
    options, answer = _options(row)
    choices = tuple(dict.fromkeys(f" {one}" for one in options))
    prompt = f"Question: {text_of(row, 'question')}\nAnswer:"
    return Sample(prompt, choices, choices.index(f" {options[answer]}"))


def _options(row: Mapping[str, Any]) -> tuple[list[str], int]:
    if "choices" in row:
        name, given = "choices", list(row["choices"])
        answer = label_of(row, "answer", 4)
    else:
        name, given = "A, B, C, D", [row.get(letter, "") for letter in LETTERS[:4]]
        require_one_of("answer", str(row.get("answer", "")), tuple(LETTERS[:4]))
        answer = LETTERS.index(row["answer"])
    options = texts_of(name, given)
    if not len(options) == len(given) == 4:  # an empty one left out would move the answer
        raise ValueError(f"needs four choices (A, B, C, D), got {options}")
    return options, answer


def in_domain(row: Mapping[str, Any], domain: str) -> bool:
    """Whether a row's subject belongs to one of the four domains, or to ``"all"``."""
    subject = text_of(row, "subject")
    require_one_of("subject", subject, MMLU_DOMAINS)
    return domain in ("all", MMLU_DOMAINS[subject])


def read_triviaqa(row: Mapping[str, Any]) -> Sample:
    """question, answer: a text, or a mapping with value and aliases."""
    answer = row.get("answer")
    if isinstance(answer, Mapping):
        target = text_of(answer, "value")
        aliases = texts_of("aliases", answer.get("aliases") or ())
    else:
        target, aliases = text_of(row, "answer"), []
    others = tuple(dict.fromkeys(one for one in aliases if one != target))
    prompt = f"Question: {text_of(row, 'question')}\nAnswer:"
    return Sample(prompt, target=target, aliases=others)


KNOWLEDGE = (
    Benchmark(
        name="mmlu",
        licence="MIT (Hendrycks et al., 2021)",
        columns="subject, question, A, B, C, D, answer (letter)",
        read=read_mmlu,
        cloze=cloze_mmlu,
        hub="cais/mmlu",
        hub_config="all",
        hub_plan={"pairs": "validation", "dev": "dev", "test": "test"},
        local_plans=({"pairs": "dev", "dev": "dev", "test": "test"},),
        folder="mmlu",
        subsets=("all", "humanities", "stem", "social", "other"),
        belongs=in_domain,
    ),
    Benchmark(
        name="triviaqa",
        licence="Apache-2.0 (Joshi et al., 2017)",
        columns="question, answer",
        read=read_triviaqa,
        hub="mandarjoshi/trivia_qa",
        hub_config="unfiltered.nocontext",  # "rc.nocontext" asks many a question twice
        hub_plan={"pairs": "train", "dev": "train", "test": "validation"},
        local_plans=({"pairs": "train", "dev": "train", "test": "test"}, ONE_SOURCE),
        folder="triviaqa",
        negatives="blank",
    ),
)
