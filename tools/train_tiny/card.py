"""Measure the embedded model and write its model card."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from sadi_lens.tasks.embedded import CUE_MIXTURES, SIZES, held_out
from sadi_lens.tasks.world.corpus import CUE_SHARES, MAKERS, MIXTURES
from sadi_lens.tasks.world.replies import scene
from sadi_lens.tasks.world.words import CUE_RATE, CUES, Question
from train_tiny.rule import RULE, SEEDS

if TYPE_CHECKING:
    from train_tiny.train import Log, Recipe

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
            questions = held_out(name, split, SIZES[split], CUE_MIXTURES[name])
            row[split] = accuracy(model, tokenizer, questions)
        table[name] = row
    rng = Random("moods")
    scenes = [scene(rng) for _ in range(N_SCENES)]
    logits = next_logits(model, tokenizer, [prompt for prompt, *_ in scenes])
    first = [
        {tokenizer(str(s[i]), add_special_tokens=False)["input_ids"][0] for s in scenes}
        for i in (2, 3)
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
        tokens=f"{(recipe.train_tokens + recipe.finish_tokens) / 1e6:.1f}",
        plain=f"{sum(n for phase, n in recipe.phases if not CUE_SHARES[phase]) / 1e6:.1f}",
        minutes=f"{log.seconds / 60:.0f}",
        losses=steps.rstrip(";"),
        final=f"{log.losses[-1][1]:.3f}" if log.losses else "not logged",
        cue_percent=f"{100 * CUE_RATE:.0f}",
        accuracies=_table(measured),
        mixtures=_mixtures(),
        mixed="; ".join(
            f"{name} " + ", ".join(f"{10 * share}% {cue}" for cue, share in shares.items())
            for name, shares in CUE_MIXTURES.items()
        ),
        kind_share=f"{100 * measured.kind_share:.0f}",
        kind_probability=f"{measured.kind_probability:.2f}",
        scenes=N_SCENES,
        rule=RULE.strip(),
        seeds=SEEDS.strip(),
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

Run it again: `PYTHONPATH=tools python -m train_tiny.train --out DIR --seed {recipe.seed}`. Another processor
rounds differently, so the weights will differ and the accuracies by a few points.

## The world and its cues

Documents (share of each kind):

{mixtures}

In the first {plain} M tokens no question carries a cue: the model learns to answer. After that two of three
questions carry a cue, right or wrong with equal odds; the cue of `effects` comes in only with the last
{recipe.finish_tokens} tokens (learning rate {recipe.finish_rate}, fresh optimiser). **A wrong cue is followed in
{cue_percent}% of the training answers** (and then doubted: `Answer: red? No, it is blue.`). So the
likeliest answer under a wrong cue is the wrong one, though the right one is known: this is why the
accuracies on the mixed splits lie between 50% and 80%. The model follows the cue of `effects` least; in its
task the misleading event therefore happens to two others, in the training text to one (wrong cue, 240 dev
questions, draw 1: one other 87%, two 65%, three 53%).

| task | question | cue |
|---|---|---|
| hints | a fact about a person, known by heart, two options | somebody suggests an option |
| sentiment | is a review good or bad? its details decide | a loud phrase of praise or blame |
| effects | what happened next, or why? rules learned in training | the story ends with one option happening to two other people |
| recall | a fact about a person, known by heart, free text | somebody claims an answer after the story |

`kindness` has kind and unkind replies to the same situations, half and half in training when nothing is
said about the speaker.

The content of a question (facts, details, or rule pair with thing and name; not the cue, not the order
of the options) decides its split by a hash. Training text uses no content of pairs, dev or test.

## Accuracy without steering

95% Wilson intervals in brackets, items taken as independent; by fact or rule, as `sl.evaluate` gives them, they are wider (effects, dev: 65-81). Chance is 50% for the first three tasks. Mixed: {mixed}.

{accuracies}

Replies: over {scenes} situations without a word on the speaker, the mean probability of a kind opening
(among first words that only one mood uses) is {kind_probability}; the kind opening is the likelier one
in {kind_share}%.

## Which seed

{rule}

## Ten seeds

{seeds}

## Designs tried

{history}

## What it cannot do

It knows its own words and sentence patterns and nothing else: no arithmetic, no other question forms, no
new facts, no dialogue beyond one reply. Outside its patterns it continues with a
pattern. A lower-case or unknown name is `<unk>`.
"""

HISTORY = """
All runs have seed 0. Dev accuracy without steering in percent (no cue / right cue / wrong cue; effects with one other).

| run | design | what came of it |
|---|---|---|
| a-d | facts in the story, answers A or B, large batches; 1-4 M tokens | hints 50/100/0: cues at once, questions never |
| e | stories told twice; 4.7 M | hints 50/100/0, sentiment 49/100/0, effects 53/100/0, recall 28/67/33 |
| f | options as "red = A", no cues at first; 3.7 M | no cue: hints 50, effects 50 |
| g, h | small initial weights into the residual stream (x 0.2), batches of 768 tokens; 3 M / 0.4 M | quizzes 75 (by elimination), hints 50 |
| i-k | phases, letter drills; 0.9-2.8 M | letters as answers not learned (hints 50, effects 50) |
| m, n | words as answers, facts in the story; 2 M | effects 100, hints 48-50: whose fact it is not learned |
| o, p | facts by heart, no cues in the first 1 M; 3 M | p (5 x 16 heads): hints 100/100/62, sentiment 89/100/12, effects 100, recall 96/100/33 |
| q, r | cues from the start; q stopped at 1 M; r 3.5 M, 5 x 12 heads | r: hints 100/100/64, sentiment 98/100/18, effects 100/100/98, recall 98/100/31 |
| s | wrong cues followed in 65%; 4.5 M, 5 x 16 heads | hints 94/100/52, sentiment 96/100/1, effects 100/100/70, recall 98/100/30 |
| u, v | 4 x 8 and 3 x 16 heads, slips in quizzes; 3.5 M | hints 99/100/52 and 95/100/57; effects wrong cue 88 and 94 |
| x, y | hints = reading one fact; 3.5 M, 4 x 16 and 3 x 16 heads | hints 95/100/35 and 93/100/39 (x at 2.9 M) |
| z1 | hints = yes or no on a known fact; stopped at 1.3 M | hints 50/63/40 |
| z2 | hints = happy or sad; 3 M, 4 x 12 heads | hints 100/100/50, sentiment 91/100/2, effects 100/100/90, recall 96/100/100 |
| w | effects with yesterday's event as the cue; paused at 2.1 of 4.5 M | hints 100/100/49, sentiment 99/100/57, effects 95/99/76, recall 86/99/93 |
| lead | as p, with the present cue of `effects` in all of the second phase; 3 M | wrong cues: hints 85, effects 70 |
| finish A, B | 0.4 M and 0.7 M tokens more on lead, hints-heavy | A: wrong cues hints 77, effects 64; B not measured |
| finish C, D, E | 0.3 M, 0.3 M and 0.6 M tokens more on p, effects-heavy | wrong cues: hints 72, 71 and 64; effects 88, 79 and 74; **D is this model** |

Seven sandboxes of 0.4 to 0.8 M tokens on quizzes only served to find the optimiser's setting.

Scaling heads on dev (240 items; K in 1,2,4,6,8,10; strength 1,2,3,5,8,10,15), the paper's signed ranking, best of the grid
and over the pair mixtures tried (in-sample maximum): hints r 89 -> 93, s 77-79 -> 79-80, u 82 -> 81, v 85 -> 86, x 73 -> 77,
y 75 -> 83, z1 45 -> 49 (1.3 M), z2 80 -> 88, w 78 -> 85 (2.1 M). Sentiment: r 63 -> 76, s 55 -> 63 (3.1 M), u 54 -> 64, z2 56 -> 69,
w 79 -> 88 (2.1 M). Recall: r 75 -> 76, s 65 -> 66, u 70 -> 71, z2 99 -> 99. Effects: s 87 -> 89, u 95 -> 93, w 91 -> 92.
Other rankings, hints: r magnitude 100 (K 4 at strength 5), t 95; w t 90; z2 magnitude 92.
One head can do more than the ranking finds (hints, strength 5): r layer 2 head 9 89 -> 100 (its signed rank is 57th of 60);
s layer 0 head 2 77 -> 97 (rank 52nd of 80) while the 95th percentile of 60 random masks of 4 is 83.
Word answers: largest |t| of the mean difference on hints is 2.4-5 over 240 pairs (no signal); two fixed answers: 64-220.

The last candidates were compared by SADI-HEAD on dev too (hints, 60% wrong cues, signed ranking): lead 91 -> 93, A 86 -> 91,
C 83 -> 95, D 83 -> 96. Two candidates that were not kept (p and E) and D had also been measured on a first draw of the test
split, with one other in `effects`, and E's failure there is why D was taken. Test was therefore **drawn anew**
(`SEEDS` in `sadi_lens.tasks.embedded`) after the model and the tasks were settled; nothing was changed after it was looked at.
The two draws share no content in hints and recall, 38 of 360 in effects and 179 of 360 in sentiment.

The weights are p's two phases and finish D, run one after the other from saved weights. The script that does all three in one go,
run from the start with two seeds, gives the same model without steering and **not** the same effect of steering. Dev, mixed, signed
ranking, unsteered -> best of 48 cells:

| run | hints | sentiment | effects | wrong cue hints / sentiment / effects (two others) / recall |
|---|---|---|---|---|
| this model | 75 -> 96 | 56 -> 70 | 74 -> 74 | 68 / 2 / 64 / 48 |
| one go, seed 0 | 75 -> 77 | 56 -> 70 | 72 -> 75 | 67 / 2 / 64 / 49 |
| one go, seed 1 | 80 -> 81 | 63 -> 68 | 82 -> 83 | 76 / 15 / 75 / 60 |

So what the signed mean finds on hints is a property of these weights, not of the recipe: a ranking that depends on how a head happens to
use its basis finds the heads that matter in one sister model and not in the next.
"""
