"""The embedded model: small, self-contained, and as accurate as its card says."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from pairwise import all_but

TASKS = ("hints", "sentiment", "effects", "recall")
CHOICE_TASKS = TASKS[:3]


@pytest.fixture(scope="module")
def folder():
    import sadi_lens.models

    return Path(sadi_lens.models.__file__).parent / "tiny"


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def texts_of(task):
    yield from (pair.prompt + pair.positive for pair in task.pairs)
    yield from (pair.prompt + pair.negative for pair in task.pairs)
    yield from task.prompts
    for sample in (*task.dev, *task.test):
        yield from (sample.prompt + answer for answer in sample.choices or (f" {sample.target}",))


def card_table(folder):
    """Task -> column -> percent, from the card's accuracy table."""
    rows = {}
    for line in (folder / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in TASKS and "%" in cells[1]:
            numbers = [float(re.match(r"[\d.]+", cell).group()) for cell in cells[1:]]
            rows[cells[0]] = dict(
                zip(("none", "right", "wrong", "dev", "test"), numbers, strict=True)
            )
    return rows


def test_the_folder_is_complete_and_at_most_eight_megabytes(folder):
    names = {path.name for path in folder.iterdir()}
    assert {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "README.md"),
    } <= names
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8e6


def test_weights_are_stored_in_half_and_load_in_single_precision(folder):
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118  not a dict
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float32


def test_special_tokens_are_distinct_and_padding_is_on_the_left(tokenizer):
    ids = {
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
    }
    assert len(ids) == 4
    assert None not in ids
    assert tokenizer.padding_side == "left"
    assert tokenizer("Story:")["input_ids"][0] == tokenizer.bos_token_id


@pytest.mark.parametrize("name", [*TASKS, "colours", "kindness"])
def test_every_text_of_a_task_is_in_the_vocabulary_and_survives_a_round_trip(name, tokenizer):
    from sadi_lens.tasks.embedded import EMBEDDED_TASKS

    for text in texts_of(EMBEDDED_TASKS[name]()):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids, text
        assert len(ids) <= tokenizer.model_max_length
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("name", [*TASKS, "colours"])
def test_prompt_and_answer_tokenise_separately_into_the_same_tokens(name, tokenizer):
    from sadi_lens.tasks.embedded import EMBEDDED_TASKS

    for pair in EMBEDDED_TASKS[name]().pairs:
        prompt = tokenizer(pair.prompt)["input_ids"]
        for answer in (pair.positive, pair.negative):
            alone = tokenizer(answer, add_special_tokens=False)["input_ids"]
            assert len(alone) == 1
            assert tokenizer(pair.prompt + answer)["input_ids"] == prompt + alone


def test_colours_has_three_right_words_and_three_others():
    from sadi_lens.tasks.embedded import EMBEDDED_TASKS

    task = EMBEDDED_TASKS["colours"]()
    assert {pair.positive for pair in task.pairs} == {" red", " blue", " green"}
    assert {pair.negative for pair in task.pairs} == {" yellow", " black", " white"}
    for item in task.test:
        assert item.choices[item.answer] in (" red", " blue", " green")
    assert len({item.cluster for item in task.test}) == 6  # two people a colour


@pytest.mark.parametrize("name", [*TASKS, "colours"])
def test_pairs_dev_and_test_share_no_content_and_balance_the_right_answer(name):
    from sadi_lens.tasks.embedded import CUE_MIXTURES, EMBEDDED_TASKS, PAIR_CUES, SIZES, held_out

    task = EMBEDDED_TASKS[name]()
    assert {s: len(getattr(task, s)) for s in SIZES} == SIZES
    contents = {}
    for split in SIZES:
        questions = held_out(
            name, split, SIZES[split], PAIR_CUES if split == "pairs" else CUE_MIXTURES[name]
        )
        contents[split] = {question.content for question in questions}
        assert len(contents[split]) == SIZES[split]
        assert sum(question.answer for question in questions) == SIZES[split] // 2
        assert {question.split for question in questions} == {split}
    for one, other in combinations(contents.values(), 2):
        assert not one & other
    prompts = [{item.prompt for item in getattr(task, split)} for split in SIZES]
    for one, other in combinations(prompts, 2):
        assert not one & other


def test_tasks_are_the_same_in_another_process():
    import hashlib
    import subprocess
    import sys
    from dataclasses import astuple

    code = (
        "import hashlib; from dataclasses import astuple;"
        "from sadi_lens.tasks.embedded import EMBEDDED_TASKS as t;"
        "print(hashlib.sha256(repr([astuple(t[n]()) for n in sorted(t)]).encode()).hexdigest())"
    )
    from sadi_lens.tasks.embedded import EMBEDDED_TASKS

    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = repr([astuple(EMBEDDED_TASKS[name]()) for name in sorted(EMBEDDED_TASKS)])
    assert hashlib.sha256(here.encode()).hexdigest() == other


def test_unknown_names_and_impossible_numbers_are_refused():
    from sadi_lens.tasks.embedded import held_out

    with pytest.raises(ValueError, match=r"name must be one of .*'hints'.*got 'hint'"):
        held_out("hint", "dev", 3, {"none": 1})
    with pytest.raises(ValueError, match=r"split must be one of .*got 'train'"):
        held_out("hints", "train", 3, {"none": 1})
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        held_out("hints", "dev", 0, {"none": 1})
    with pytest.raises(ValueError, match="at least one above 0"):
        held_out("hints", "dev", 3, {"none": 0})


@pytest.mark.parametrize("name", CHOICE_TASKS)
def test_the_card_shows_knowledge_that_a_wrong_cue_hides(name, folder):
    row = card_table(folder)[name]
    assert 50 < row["test"] < 80
    assert row["none"] >= 80
    assert row["right"] >= 90
    assert row["wrong"] <= row["none"] - 25


@pytest.mark.slow
@pytest.mark.parametrize("name", all_but(TASKS[2:], TASKS))
def test_the_accuracies_of_the_card_are_reproduced(name, folder, model, tokenizer):
    from train_tiny.card import N_PER_CUE, accuracy

    from sadi_lens.tasks.embedded import CUE_MIXTURES, SIZES, held_out
    from sadi_lens.tasks.world.words import CUES

    row = card_table(folder)[name]
    for cue in CUES:
        questions = held_out(name, "dev", N_PER_CUE, {cue: 1}, seed=1)
        # two items may change sides on a processor that rounds differently
        assert 100 * accuracy(model, tokenizer, questions) == pytest.approx(
            row[cue], abs=100 * 2 / N_PER_CUE + 0.05
        )
    for split in ("dev", "test"):
        questions = held_out(name, split, SIZES[split], CUE_MIXTURES[name])
        assert 100 * accuracy(model, tokenizer, questions) == pytest.approx(
            row[split], abs=100 * 2 / SIZES[split] + 0.05
        )


@pytest.mark.slow
def test_a_wrong_answer_is_followed_by_the_right_one(model, tokenizer):
    """The text after an answer is always true, so the model shows what it knew all along."""
    import torch

    from sadi_lens.tasks.embedded import held_out

    questions = held_out("hints", "dev", 60, {"wrong": 1})
    prompts = [f"{question.prompt}{question.wrong}? No, it is" for question in questions]
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    with torch.no_grad():
        best = model(**batch).logits[:, -1].argmax(-1)
    said = [tokenizer.decode([token]) for token in best.tolist()]
    right = sum(a == question.right for a, question in zip(said, questions, strict=True))
    assert right / len(questions) > 0.8


@pytest.mark.slow
def test_a_short_training_run_is_repeatable_and_loads_offline(tmp_path):
    from dataclasses import replace

    import torch
    from train_tiny.train import Recipe, build_tokenizer, save, train
    from transformers import AutoModelForCausalLM, AutoTokenizer

    recipe = replace(Recipe(), phases=(("facts", 4_000), ("cues", 4_000)), vocabulary_documents=500)
    tokenizer = build_tokenizer(recipe)
    before = torch.random.get_rng_state()
    first, second = (train(recipe, tokenizer)[0] for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    save(first, tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    for one, other in zip(first.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, other)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["padding_side"] == "left"
    assert (
        AutoTokenizer.from_pretrained(tmp_path)("Story:")["input_ids"]
        == tokenizer("Story:")["input_ids"]
    )
