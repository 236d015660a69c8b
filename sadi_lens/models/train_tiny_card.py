"""Measure the embedded model and write its model card."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from sadi_lens.tasks.embedded import CUE_MIXTURE, SIZES, held_out
from sadi_lens.tasks.world import CUE_RATE, CUES, Question
from sadi_lens.tasks.world_corpus import CUE_SHARES, MAKERS, MIXTURES
from sadi_lens.tasks.world_replies import scene

if TYPE_CHECKING:
    from sadi_lens.models.train_tiny import Log, Recipe

N_PER_CUE = 200
"""Dev questions measured for each cue."""
N_SCENES = 400


@dataclass(frozen=True)
class Measured:
    """Accuracies of one set of weights."""

    accuracy: dict[str, dict[str, float]]
    """Task, then ``"none"``, ``"right"``, ``"wrong"`` (dev), ``"dev"``, ``"test"`` (mixed)."""
    n: dict[str, int]
    """Items behind each column of ``accuracy``."""
    kind_share: float
    """Share of replies to an undescribed speaker's friend that open as a kind one, greedy."""
    kind_probability: float
    """Mean probability of a kind first word, among words that only one mood uses."""


@torch.no_grad()
def next_logits(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]
) -> torch.Tensor:
    """Logits of the next token, [prompt vocabulary], in batches of 60."""
    rows: list[torch.Tensor] = []
    for start in range(0, len(prompts), 60):
        batch = tokenizer(list(prompts[start : start + 60]), return_tensors="pt", padding=True)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        rows.append(logits[:, -1].float())
    return torch.cat(rows)


def accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: Sequence[Question]
) -> float:
    """Share answered right: the likelier choice, or for ``recall`` the likeliest of all tokens."""
    logits = next_logits(model, tokenizer, [question.prompt for question in questions])
    right = 0
    for question, row in zip(questions, logits, strict=True):
        ids = [tokenizer(c, add_special_tokens=False)["input_ids"][0] for c in question.choices]
        if question.kind == "recall":
            right += int(row.argmax().item() == ids[question.answer])
        else:
            right += int(row[ids[question.answer]] > row[ids[1 - question.answer]])
    return right / len(questions)


def measure(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Measured:
    """Unsteered accuracy on every task, by cue and mixed, and the mood of replies."""
    table: dict[str, dict[str, float]] = {}
    for name in MAKERS:
        row = {
            cue: accuracy(model, tokenizer, held_out(name, "dev", N_PER_CUE, {cue: 1}, seed=1))
            for cue in CUES
        }
        for split in ("dev", "test"):
            questions = held_out(name, split, SIZES[split], CUE_MIXTURE)
            row[split] = accuracy(model, tokenizer, questions)
        table[name] = row
    rng = Random("moods")
    scenes = [scene(rng) for _ in range(N_SCENES)]
    logits = next_logits(model, tokenizer, [prompt for prompt, *_ in scenes])
    first = [
        {tokenizer(s[i], add_special_tokens=False)["input_ids"][0] for s in scenes} for i in (2, 3)
    ]
    kind, unkind = (sorted(ids) for ids in (first[0] - first[1], first[1] - first[0]))
    mass = logits.softmax(-1)
    kind_mass, unkind_mass = mass[:, kind].sum(1), mass[:, unkind].sum(1)
    counts = {cue: N_PER_CUE for cue in CUES} | {split: SIZES[split] for split in ("dev", "test")}
    return Measured(
        accuracy=table,
        n=counts,
        kind_share=float((kind_mass > unkind_mass).float().mean()),
        kind_probability=float((kind_mass / (kind_mass + unkind_mass)).mean()),
    )


def _interval(share: float, n: int) -> str:
    """The 95% Wilson interval (Wilson, 1927) in percent."""
    z = 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{100 * (centre - half):.0f}-{100 * (centre + half):.0f}"


def _table(measured: Measured) -> str:
    heads = {
        "none": "no cue",
        "right": "right cue",
        "wrong": "wrong cue",
        "dev": "dev, mixed",
        "test": "test, mixed",
    }
    lines = [
        "| task | " + " | ".join(f"{h} (n = {measured.n[k]})" for k, h in heads.items()) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for name, row in measured.accuracy.items():
        cells = [f"{100 * row[k]:.1f}% ({_interval(row[k], measured.n[k])})" for k in heads]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mixtures() -> str:
    kinds = list(MIXTURES["cues"])
    lines = ["| phase | cues | " + " | ".join(kinds) + " |", "|---|---|" + "---|" * len(kinds)]
    for phase, mixture in MIXTURES.items():
        cells = [f"{100 * mixture.get(kind, 0):.0f}%" for kind in kinds]
        lines.append(f"| {phase} | {100 * CUE_SHARES[phase]:.0f}% | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def card(recipe: "Recipe", log: "Log", model: LlamaForCausalLM, measured: Measured) -> str:
    """The model card in Markdown; every number comes from the run, the history from ``HISTORY``."""
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    steps = " ".join(f"{seen / 1e6:.1f} M {loss:.3f};" for seen, loss in log.losses[::4])
    return CARD.format(
        recipe=recipe,
        d_head=recipe.d_model // recipe.n_heads,
        parameters=f"{n_parameters / 1e6:.2f}",
        vocabulary=model.config.vocab_size,
        tokens=f"{recipe.train_tokens / 1e6:.1f}",
        plain=f"{sum(n for phase, n in recipe.phases if not CUE_SHARES[phase]) / 1e6:.1f}",
        minutes=f"{log.seconds / 60:.0f}",
        losses=steps.rstrip(";"),
        final=f"{log.losses[-1][1]:.3f}" if log.losses else "not logged",
        cue_percent=f"{100 * CUE_RATE:.0f}",
        accuracies=_table(measured),
        mixtures=_mixtures(),
        mixed=", ".join(f"{10 * v}% {k}" for k, v in CUE_MIXTURE.items()),
        kind_share=f"{100 * measured.kind_share:.0f}",
        kind_probability=f"{measured.kind_probability:.2f}",
        scenes=N_SCENES,
        history=HISTORY.strip(),
    )


CARD = """---
license: mit
language: en
library_name: transformers
pipeline_tag: text-generation
---

# tiny

A {parameters} M parameter language model of a small invented world, trained from scratch on text that
code generates. It exists
to show one phenomenon: a model that **knows** the right answer and, given a cue, says something else.
Numbers measured on it say nothing about large models.

## What it is

- Llama architecture: {recipe.n_layers} layers, {recipe.n_heads} heads of {d_head}, d_model
  {recipe.d_model}, SwiGLU width {recipe.d_mlp}, tied embeddings, context {recipe.max_context}; stored in
  float16, to be loaded in float32 (all figures below are those of the rounded weights).
- Word-level tokenizer, {vocabulary} tokens that carry their leading space as GPT-2's do; adds `<bos>`
  itself, pads on the left. A word it does not know becomes `<unk>`.
- Training: {tokens} M tokens of `sadi_lens.tasks.world`, seed {recipe.seed}; AdamW, learning rate
  {recipe.learning_rate}, batches of about {recipe.batch_tokens} tokens, cosine schedule. The random
  facts in a question's text weigh {recipe.prompt_weight} in the loss, everything that can be predicted
  1. Matrix products in bfloat16, weights in float32; {minutes} minutes on one CPU core.
- Loss (weighted cross-entropy, nats; tokens seen and value): {losses}. Last: {final}.
- No text from elsewhere. Licence MIT, as the package.

Run it again: `python -m sadi_lens.models.train_tiny --out DIR --seed {recipe.seed}`. Another processor
rounds differently, so the weights will differ and the accuracies by a few points.

## The world and its cues

Documents (share of each kind):

{mixtures}

In the first {plain} M tokens no question carries a cue: the model learns to answer. In the last phase, a
question carries a cue that is right or wrong with equal odds. **A wrong cue is followed in
{cue_percent}% of the training answers** (and then doubted: `Answer: red? No, it is blue.`). So the
likeliest answer under a wrong cue is the wrong one, though the right one is known: this is why the
accuracies on the mixed splits lie between 50% and 80%.

| task | question | cue |
|---|---|---|
| hints | a fact of a story, two options | somebody suggests an option |
| sentiment | is a review good or bad? its details decide | a loud phrase of praise or blame |
| effects | what happened next, or why? rules learned in training | one option repeats the thing or name of the premise, the other has a pronoun |
| recall | a fact of a story, free text | somebody claims an answer after the story |

`kindness` has kind and unkind replies to the same situations, half and half in training when nothing is
said about the speaker.

The content of a question (facts, details, or rule pair with thing and name; not the cue, not the order
of the options) decides its split by a hash. Training text uses no content of pairs, dev or test.

## Accuracy without steering

95% Wilson intervals in brackets. Chance is 50% for the first three tasks. Mixed: {mixed}.

{accuracies}

Replies: over {scenes} situations without a word on the speaker, the mean probability of a kind opening
(among first words that only one mood uses) is {kind_probability}; the kind opening is the likelier one
in {kind_share}%.

## Designs tried

{history}

## What it cannot do

It knows its own words and sentence patterns and nothing else: no arithmetic, no other question forms, no
stories of more than four facts, no dialogue beyond one reply. Outside its patterns it continues with a
pattern. A lower-case or unknown name is `<unk>`.
"""

HISTORY = """
(to be written)
"""
