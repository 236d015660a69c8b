"""COPA and XCOPA, StoryCloze, Winogrande: two options, answered by a letter or as text that goes on from the prompt.

COPA: Roemmele et al. (2011), BSD 2-Clause. XCOPA: Ponti et al. (2020), CC BY 4.0. StoryCloze: Mostafazadeh et al.
(2016), by request from its authors. WinoGrande: Sakaguchi et al. (2020), CC BY.
"""

import re
from collections.abc import Mapping
from typing import Any

from sadi_lens.tasks.benchmark import ONE_SOURCE, Benchmark, label_of, lettered, letters, text_of
from sadi_lens.types.answers import takes_space
from sadi_lens.types.base import require_one_of
from sadi_lens.types.data import Sample

XCOPA_LANGUAGES = ("et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")
CONNECTORS = {
    "en": ("because", "so"),
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
"""Language -> what stands before a cause and before an effect."""
_WRAPPED = re.compile(
    r"sentence: (?P<sentence>.*?)\s*Option1: (?P<one>.*?) Option2: (?P<two>.*?) Answer format",
    re.DOTALL,
)


def read_copa(row: Mapping[str, Any]) -> Sample:
    """premise, question (cause or effect), choice1, choice2, label 0 or 1."""
    question = text_of(row, "question")
    require_one_of("question", question, ("cause", "effect"))
    options = lettered([text_of(row, "choice1"), text_of(row, "choice2")], mark=":")
    prompt = (
        f"Question:\n{text_of(row, 'premise')} Which is the more plausible {question} of this?\n"
        f"{options}\n\nAnswer:"
    )
    return Sample(prompt, letters(2), label_of(row, "label", 2))


def cloze_copa(row: Mapping[str, Any], language: str | None) -> Sample:
    """The columns of ``read_copa``: the premise, "because" or "so" in its language, and a choice as what follows.

    After lm-evaluation-harness's tasks copa and xcopa.
    """
    question = text_of(row, "question")
    require_one_of("question", question, ("cause", "effect"))
    premise = text_of(row, "premise").rstrip(".\u3002\u0964")
    word = CONNECTORS[language or "en"][question == "effect"]
    prompt = f"{premise}{' ' if takes_space(premise, word) else ''}{word}"
    options = (text_of(row, name) for name in ("choice1", "choice2"))
    texts = [one[0].lower() + one[1:] for one in options]
    choices = tuple(f"{' ' if takes_space(prompt, one) else ''}{one}" for one in texts)
    return Sample(prompt, choices, label_of(row, "label", 2))


def cloze_story(row: Mapping[str, Any], subset: str | None) -> Sample:  # noqa: ARG001  # one signature
    """The columns of ``read_story_cloze``: an ending follows the story."""
    story, endings, answer = _story(row)
    return Sample(story, tuple(f" {one}" for one in endings), answer)


def cloze_winogrande(row: Mapping[str, Any], subset: str | None) -> Sample:  # noqa: ARG001  # one signature
    """The columns of ``read_winogrande``: an option and the rest of the sentence follow the part before the blank."""
    sentence, options, answer = _blank(row)
    before, after = sentence.split("_")
    space = " " if before != before.rstrip() else ""
    choices = tuple(f"{space}{one}{after}" for one in options)
    return Sample(before.rstrip(), choices, answer)


def read_story_cloze(row: Mapping[str, Any]) -> Sample:
    """Four sentences, two endings, the number of the right one.

    Columns as released (InputSentence1, RandomFifthSentenceQuiz1, AnswerRightEnding), with or without underscores, or
    as in XStoryCloze (input_sentence_1, sentence_quiz1, answer_right_ending).
    """
    story, endings, answer = _story(row)
    prompt = (
        f"{story}\nQuestion: Which of the two options continues the story?\n"
        f"{lettered(endings, mark=':')}\nAnswer:"
    )
    return Sample(prompt, letters(2), answer)


def _story(row: Mapping[str, Any]) -> tuple[str, list[str], int]:
    plain = {key.replace("_", "").lower(): value for key, value in row.items()}
    story = " ".join(text_of(plain, f"inputsentence{number}") for number in range(1, 5))
    endings = [
        text_of(plain, f"randomfifthsentencequiz{number}", f"sentencequiz{number}")
        for number in (1, 2)
    ]
    return story, endings, label_of(plain, "answerrightending", 2, first=1)


def read_winogrande(row: Mapping[str, Any]) -> Sample:
    """sentence, option1, option2, answer 1 or 2; or the same wrapped into one instruction (option1 or option2)."""
    sentence, options, answer = _blank(row)
    prompt = (
        f"Which option fits the blank? Answer A or B.\n\nSentence: {sentence}\n"
        f"{lettered(options)}\nAnswer:"
    )
    return Sample(prompt, letters(2), answer)


def _blank(row: Mapping[str, Any]) -> tuple[str, list[str], int]:
    if "instruction" in row:
        found = _WRAPPED.search(text_of(row, "instruction"))
        if found is None:
            raise ValueError("column 'instruction' must hold a sentence, Option1 and Option2")
        sentence, options = found["sentence"], [found["one"].strip(), found["two"].strip()]
    else:
        sentence = text_of(row, "sentence")
        options = [text_of(row, "option1"), text_of(row, "option2")]
    if sentence.count("_") != 1:
        raise ValueError(f"a sentence must have one blank '_', got {sentence!r}")
    answer = {**row, "answer": str(row.get("answer", "")).removeprefix("option")}
    return sentence, options, label_of(answer, "answer", 2, first=1)


_COPA_COLUMNS = "premise, question (cause or effect), choice1, choice2, label (0 or 1)"

COMMONSENSE = (
    Benchmark(
        name="copa",
        licence="BSD 2-Clause (Roemmele et al., 2011)",
        columns=_COPA_COLUMNS,
        read=read_copa,
        cloze=cloze_copa,
        hub="aps/super_glue",
        hub_config="copa",
        hub_plan={"pairs": "train", "dev": "train", "test": "validation"},
        local_plans=({"pairs": "dev", "dev": "dev", "test": "test"},),
        folder="copa_en",
    ),
    Benchmark(
        name="xcopa",
        licence="CC BY 4.0 (Ponti et al., 2020)",
        columns=_COPA_COLUMNS,
        read=read_copa,
        cloze=cloze_copa,
        hub="cambridgeltl/xcopa",
        hub_config="{subset}",
        hub_plan={"pairs": "validation", "dev": "validation", "test": "test"},
        local_plans=({"pairs": "val", "dev": "val", "test": "test"},),
        folder="xcopa",
        file="{split}.{subset}",
        subsets=("it", *(one for one in XCOPA_LANGUAGES if one != "it")),
    ),
    Benchmark(
        name="storycloze",
        licence="by request from the authors (Mostafazadeh et al., 2016)",
        columns="InputSentence1 to 4, RandomFifthSentenceQuiz1, RandomFifthSentenceQuiz2, AnswerRightEnding (1 or 2)",
        read=read_story_cloze,
        cloze=cloze_story,
        hub="juletxara/xstory_cloze",
        hub_config="en",
        hub_revision="refs/convert/parquet",  # the main branch holds a script, which datasets no longer runs
        hub_plan={"pairs": "train", "dev": "train", "test": "eval"},
        local_plans=({"pairs": "validation", "dev": "validation", "test": "test"}, ONE_SOURCE),
        folder="storycloze",
    ),
    Benchmark(
        name="winogrande",
        licence="CC BY (Sakaguchi et al., 2020)",
        columns="sentence, option1, option2, answer (1 or 2); or instruction, answer (option1 or option2)",
        read=read_winogrande,
        cloze=cloze_winogrande,
        hub="allenai/winogrande",
        hub_config="winogrande_m",
        hub_plan={"pairs": "train", "dev": "train", "test": "validation"},
        local_plans=({"pairs": "train", "dev": "train", "test": "test"}, ONE_SOURCE),
        folder="winogrande",
    ),
)
