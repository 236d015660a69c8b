"""Exercises of lesson 6: rows to pairs, and what can go wrong in a data set without anybody noticing."""

from collections.abc import Mapping, Sequence

from sadi_lens.apps.lessons.exercise import Exercise, Mistake


def _to_pair(row: Mapping[str, str]) -> dict[str, str]:
    return {
        "prompt": f"{row['text']}\nVerdict:",
        "positive": f" {row['label']}",
        "negative": f" {row['other']}",
    }


def _favourite_share(answers: Sequence[str]) -> float:
    return max(answers.count(one) for one in set(answers)) / len(answers)


def _leaked(train: Sequence[str], dev: Sequence[str]) -> list[str]:
    return sorted(set(train) & set(dev))


def _is_merged(prompt: list[int], whole: list[int]) -> bool:
    return whole[: len(prompt)] != prompt


EXERCISES = {
    # The text as given, then the question; each answer brings the space before it.
    "to_pair": Exercise(
        "to_pair(row)",
        (
            (
                ({"text": "The bed was soft.", "label": "good", "other": "bad"},),
                {
                    "prompt": "The bed was soft.\nVerdict:",
                    "positive": " good",
                    "negative": " bad",
                },
            ),
            (
                ({"text": "The soup was cold.", "label": "bad", "other": "good"},),
                {
                    "prompt": "The soup was cold.\nVerdict:",
                    "positive": " bad",
                    "negative": " good",
                },
            ),
        ),
        _to_pair,
        (
            Mistake(
                lambda row: {
                    "prompt": f"{row['text']}\nVerdict:",
                    "positive": row["label"],
                    "negative": row["other"],
                },
                "The space belongs to the answer: write ' good', because that is one token of the model.",
            ),
            Mistake(
                lambda row: {
                    "prompt": f"{row['text']}\nVerdict: ",
                    "positive": row["label"],
                    "negative": row["other"],
                },
                "The prompt must not end in a space: a tokenizer glues it to the answer.",
            ),
        ),
    ),
    # Three of four are good, one of two, all of one.
    "favourite_share": Exercise(
        "favourite_share(answers)",
        (
            (([" bad", " good", " good", " good"],), 0.75),
            (([" bad", " good"],), 0.5),
            (([" bad"],), 1.0),
        ),
        _favourite_share,
        (
            Mistake(
                lambda answers: answers.count(answers[0]) / len(answers),
                "That is the share of the first answer; take the one that is right most often.",
            ),
            Mistake(
                lambda answers: max(answers.count(one) for one in set(answers)),
                "That is a count; divide by the pairs.",
            ),
        ),
    ),
    "leaked": Exercise(
        "leaked(train, dev)",
        (
            ((["b", "a", "c", "a"], ["a", "b", "d"]), ["a", "b"]),
            ((["a"], ["b"]), []),
        ),
        _leaked,
        (
            Mistake(
                lambda train, dev: [one for one in train if one in dev],
                "A prompt that stands in one split twice should be named once, and in order.",
            ),
            Mistake(
                lambda train, dev: sorted(set(train) - set(dev)),
                "Those stand in one split only; asked are the prompts of both.",
            ),
        ),
    ),
    # 5 6 | 7 keeps the prompt; in 5 8 the 6 has been merged with the answer. One changed token is enough.
    "is_merged": Exercise(
        "is_merged(prompt, whole)",
        (
            (([5, 6], [5, 6, 7]), False),
            (([5, 6], [5, 8]), True),
            (([5, 6], [5, 8, 6]), True),
            (([5, 6, 7], [5, 9, 7, 8]), True),
        ),
        _is_merged,
        (
            Mistake(
                lambda prompt, whole: not set(prompt) <= set(whole),
                "The same tokens must stand at the same places, at the beginning.",
            ),
            Mistake(
                lambda prompt, whole: whole[len(prompt) - 1] != prompt[-1],
                "You looked at the last token of the prompt alone; an earlier one may have changed, too.",
            ),
            Mistake(
                lambda prompt, whole: whole[: len(prompt)] == prompt,
                "The other way round: True where the prompt's tokens have changed.",
            ),
        ),
    ),
}
"""By name."""
