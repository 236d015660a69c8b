"""Train the embedded model ``tiny``: ``PYTHONPATH=tools python -m train_tiny.train --out DIR --seed 0``.

A Llama-shaped transformer on text that ``sadi_lens.tasks.world`` generates; two CPU cores, no
download. Writes weights (float16, always loaded as float32), tokenizer, configs and the model card
with accuracies of the rounded weights.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from random import Random

import torch
from jaxtyping import Float, Int
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sadi_lens.tasks.world.corpus import corpus
from train_tiny.card import card, measure

logger = logging.getLogger(__name__)

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
WORD_PATTERN = r" ?[A-Za-z']+| ?[^\sA-Za-z]|\n"
"""A word or a sign with its leading space, or a line break; a lone space is a token too."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 0
    n_layers: int = 5
    d_model: int = 128
    n_heads: int = 16
    d_mlp: int = 320
    rope_theta: float = 1e5
    initializer_range: float = 0.08
    residual_scale: float = 0.2
    """Factor on the initial weights that write into the residual stream: embeddings dominate it."""
    max_context: int = 256
    phases: tuple[tuple[str, int], ...] = (
        ("facts", 1_000_000),
        ("cues", 2_000_000),
    )
    """Phases of the training text and their tokens."""
    finish_tokens: int = 300_000
    """Tokens of the phase ``"finish"``, trained after the others with a fresh optimiser."""
    finish_rate: float = 8e-4
    """Learning rate of that phase."""
    batch_tokens: int = 640
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    prompt_weight: float = 0.1
    """Loss weight of the tokens of a question's text (random facts); answers and tales have 1."""
    bfloat16: bool = True
    """Matrix products in bfloat16; the weights stay float32."""
    vocabulary_documents: int = 60_000

    @property
    def train_tokens(self) -> int:
        """Tokens of all phases."""
        return sum(tokens for _, tokens in self.phases)


@dataclass
class Log:
    """What happened in training."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    """(tokens seen, mean weighted cross-entropy in nats since the last entry)."""
    seconds: float = 0.0


def build_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """A word-level tokenizer whose tokens carry their leading space, as GPT-2's do.

    It adds ``<bos>`` itself and pads on the left; ``decode(encode(text)) == text`` for text of the world.
    """
    splitter = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
    words: set[str] = set()
    for text, _ in islice(corpus(recipe.seed), recipe.vocabulary_documents):
        words.update(piece for piece, _ in splitter.pre_tokenize_str(text))
    vocabulary = {token: i for i, token in enumerate((*SPECIALS, *sorted(words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=recipe.max_context,
        clean_up_tokenization_spaces=False,
    )


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A model with random weights drawn from ``recipe.seed``; the global random state is kept."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        max_position_embeddings=recipe.max_context,
        tie_word_embeddings=True,
        initializer_range=recipe.initializer_range,
        rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
        attn_implementation="eager",  # pyright: ignore[reportCallIssue]  # typed as a plain config
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter *= recipe.residual_scale
    return model


Document = tuple[list[int], list[float]]
"""Token ids and their loss weights."""


def documents(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, n: int = 2_000
) -> Iterator[list[Document]]:
    """Chunks of ``n`` encoded documents, phase after phase, until the phases' tokens are spent."""
    backend, eos = tokenizer.backend_tokenizer, int(tokenizer.eos_token_id)  # type: ignore[arg-type]  # one id
    for phase, budget in recipe.phases:
        stream, spent = corpus(recipe.seed, phase), 0
        while spent < budget:
            chunk: list[Document] = []
            for text, parts in islice(stream, n):
                encoded = backend.encode(text)
                weights = [
                    1.0 if any(a < end <= b for a, b in parts) else recipe.prompt_weight
                    for _, end in encoded.offsets
                ]
                chunk.append(([*encoded.ids, eos], [*weights, 1.0]))
                spent += len(chunk[-1][0])
                if spent >= budget:
                    break
            yield chunk


def batches(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[Int[Tensor, "batch pos"], Float[Tensor, "batch pos"]]]:
    """Token batches, padded on the right, with the loss weight of each token (0 for padding).

    Documents of similar length share a batch; one document never sees another.
    """
    rng, pad = Random(recipe.seed), tokenizer.pad_token_id
    for chunk in documents(recipe, tokenizer):
        groups: list[list[Document]] = [[]]
        for document in sorted(chunk, key=lambda document: len(document[0])):
            if (len(groups[-1]) + 1) * len(document[0]) > recipe.batch_tokens:
                groups.append([])
            groups[-1].append(document)
        rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            yield (
                torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in group]),
                torch.tensor([w + [0.0] * (width - len(w)) for _, w in group]),
            )


def train(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    *,
    model: LlamaForCausalLM | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
) -> tuple[LlamaForCausalLM, Log]:
    """Train one model, or go on with ``model``: AdamW, warm-up, cosine to a twentieth of the rate."""
    model = build_model(recipe, tokenizer) if model is None else model.train()
    model = model.to(device)
    log, start = Log(), time.perf_counter()
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, (0.9, 0.98), weight_decay=recipe.weight_decay
    )
    seen, step, since, total, report = 0, 0, 0, 0.0, 0
    for on_cpu in batches(recipe, tokenizer):
        tokens, weights = (part.to(device) for part in on_cpu)
        progress = min(1.0, seen / recipe.train_tokens)
        rate = recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)
        with torch.autocast(device, torch.bfloat16, enabled=recipe.bfloat16):
            logits = model(tokens, use_cache=False).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), tokens[:, 1:], reduction="none"
        )
        loss = (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step, seen = step + 1, seen + int((weights > 0).sum())
        since, total = since + 1, total + loss.item()
        if seen >= report + 100_000:
            report = seen
            log.losses.append((seen, total / since))
            log.seconds = time.perf_counter() - start
            logger.info(
                "%5.2f M tokens  loss %.3f  %4.0f s", seen / 1e6, total / since, log.seconds
            )
            since, total = 0, 0.0
            if checkpoint is not None:
                model.save_pretrained(checkpoint)
                tokenizer.save_pretrained(checkpoint)
    log.seconds = time.perf_counter() - start
    return model.cpu().eval(), log


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write weights (float16), tokenizer and configs; ``model`` keeps the rounded weights in float32."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    tokenizer.save_pretrained(out)
    config = out / "tokenizer_config.json"
    fields = json.loads(config.read_text())
    fields["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.write_text(json.dumps(fields, indent=2) + "\n")
    model.half().save_pretrained(out)
    fields = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**fields, "dtype": "float32"}, indent=2) + "\n")
    model.float()


def main(argv: list[str] | None = None) -> None:
    """Train, round, measure, write the model and its card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="where to train")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    recipe = Recipe(seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(recipe)
    model, log = train(recipe, tokenizer, checkpoint=args.out, device=args.device)
    finish = replace(
        recipe,
        phases=(("finish", recipe.finish_tokens),),
        learning_rate=recipe.finish_rate,
        warmup_steps=50,
    )
    model, last = train(finish, tokenizer, model=model, checkpoint=args.out, device=args.device)
    log.losses += [(recipe.train_tokens + seen, loss) for seen, loss in last.losses]
    log.seconds += last.seconds
    save(model, tokenizer, args.out)
    (args.out / "README.md").write_text(card(recipe, log, model, measure(model, tokenizer)))


if __name__ == "__main__":
    main()
