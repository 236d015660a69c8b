r"""A Llama-shaped model whose weights are set by hand, so that what every unit does is known on paper.

The language: ``the sky is stormy and ann says aye ?`` is answered ``yes`` or ``no``. Weather words carry the
evidence e: sunny +1, bright +2, rainy -1, stormy -2. What somebody says carries a pull p: aye +1.25, yeah
+2.75, sure +5.25; nay, nah, nope the same with a minus; ``nothing`` 0. At the ``?``

    logit(yes) - logit(no) = (1 + strength) * e + p                                                       (1)

where ``strength`` scales the planted unit of any one component (``PLANTED``), at the last prompt token or
everywhere. With ``nothing`` said (p = 0) the logit difference is multiplied by exactly 1 + strength; with a
pull against the evidence the answer is wrong until strength > |p| / |e| - 1.

Why (1) is exact:

* Norms are the identity. RMSNorm gives w * x / sqrt(mean(x^2) + eps). With eps = 2^40, w = 2^20 and mean(x^2)
  below 2^16 (half the distance between float32 numbers at 2^40) the sum rounds to 2^40, its root is 2^20, and
  w cancels it without error. What is left is attention and MLPs without a norm.
* Attention selects exactly. Scores are 0 (any token), 64 (BOS) or 128 (the token looked for); exp(-64) =
  1.6e-28 is lost in float32 beside 1. The coordinates that are used are turned by rotary angles of 1e-15 a
  position.
* The head ``PLANTED["head"]`` finds the weather word from ``?`` and from ``yes``, so that z = (e, e, e, e)
  there; from any other token, also from ``no``, it finds BOS: z = 0. It writes e/8 with alternating signs
  into 8 carrier dimensions: on the way to the last layer the evidence is spread out, and no dimension decides
  alone.
* The neuron ``PLANTED["neuron"]`` of the last layer gathers the carriers, relu(1) * e = e, and writes e into
  dimension ``PLANTED["hidden"]``, which is also ``PLANTED["mlp_out"]``; the unembedding reads it, +1/2 for
  yes and -1/2 for no.
* A head of layer 0 does the same for what is said, from ``?`` only, and writes p into a dimension of its own
  that the unembedding reads too. No planted unit touches p.

Why the paper's rule finds the planted units: at the answer token each of them is e after ``yes`` and 0 after
``no``, so right minus wrong is e - 0 for e > 0 and 0 - e for e < 0: always |e|, with mean 1.5. ``DECOY``
units carry -2e there and lead nowhere: by magnitude (mean 3) they rank first, by sign (-3) last. All other
heads, neurons and dimensions are busy with random features of the words, the same for ``yes`` and ``no``, so
that their differences are 0 (the carriers', e/8 and -e/8, apart).

A fixed addition of the mean difference pushes every item towards yes; scaling pushes each to its own side.
That is the contrast this model was planted for. It is a measuring instrument: nothing on it says anything
about a trained model.
"""

import math
from typing import Any

import torch
from torch import Tensor

from sadi_lens.models._planted_task import EVIDENCE, NAMES, PLACES, PULL
from sadi_lens.types.checks import checked

N_LAYERS, N_HEADS, D_HEAD, D_MODEL, D_MLP = 4, 8, 4, 32, 48

PLANTED = {"head": (1, 2), "neuron": (3, 17), "mlp_out": (3, 21), "hidden": (3, 21)}
"""Component -> (layer, unit) of the unit that decides."""
DECOY = {"head": (2, 5), "neuron": (2, 40), "mlp_out": (2, 22), "hidden": (2, 22)}
"""Decoy units: their difference is twice as large and of the other sign, but no logit depends on them."""

VOCAB = (
    *("<pad>", "<s>", "</s>", "<unk>", "yes", "no", "?", "the", "is", "and", "says"),
    *(*PLACES, *NAMES, *EVIDENCE, *PULL),
)

# Residual dimensions. 9..20 and 23 carry the background.
CONSTANT, EVIDENCE_VALUE, EVIDENCE_KEY, BOS_KEY, ASKS, SAID_VALUE, SAID_KEY, QUESTION, ANSWERED = (
    range(9)
)
BACKGROUND = slice(9, 21)
ANSWER_DIM, DEAD_DIM, PULL_DIM = PLANTED["hidden"][1], DECOY["hidden"][1], 23
CARRIERS = range(24, 32)
CARRIER_SIGNS = torch.tensor([1.0, -1.0] * 4, dtype=torch.float32)
PULL_HEAD = (0, 6)
SCORE = 64.0
FLAG = 2.0**-5
"""Size of the flags that tell words apart, so small that no flag can be mistaken for evidence."""


@checked()
def planted_model(*, seed: int = 0) -> Any:
    """The planted model as a ``TransformerBridge`` in float32 on the CPU, with its word tokenizer.

    Args:
        seed: Of the background features (the planted part has none).

    Returns:
        A bridge as ``load_model`` gives it; a Llama of four layers.

    Example:
        >>> planted = sl.models.planted_model()
        >>> sl.evaluate(planted, sl.models.planted_task().dev, progress=False).accuracy
        0.375
    """
    from sadi_lens.models.loading import load_model

    return load_model(_planted_llama(seed), tokenizer=_planted_tokenizer())


def _planted_tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(VOCAB)}
    words = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    words.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", ids["<s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )


@torch.no_grad()
def _planted_llama(seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCAB),
        hidden_size=D_MODEL,
        intermediate_size=D_MLP,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_HEADS,
        head_dim=D_HEAD,
        max_position_embeddings=64,
        hidden_act="relu",
        rms_norm_eps=2.0**40,
        rope_parameters={"rope_type": "default", "rope_theta": 1e30},
        tie_word_embeddings=False,
        pad_token_id=VOCAB.index("<pad>"),
        bos_token_id=VOCAB.index("<s>"),
        eos_token_id=VOCAB.index("</s>"),
    )
    with torch.random.fork_rng(devices=[]):  # building draws weights that are then overwritten
        model = LlamaForCausalLM(config).float().eval()  # whatever dtype is the default
    model.name_or_path = "planted"
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.fill_(2.0**20 if "norm" in name else 0.0)
    _fill_background(model, generator)
    _fill_embeddings(model, generator)
    _plant_attention(model)
    _plant_mlps(model)
    return model


def _fill_embeddings(model: Any, generator: torch.Generator) -> None:
    embedding: Tensor = model.model.embed_tokens.weight
    shape = (len(VOCAB), BACKGROUND.stop - BACKGROUND.start)
    background = torch.randn(shape, generator=generator, dtype=torch.float32)
    background[VOCAB.index("no")] = background[VOCAB.index("yes")]
    embedding[:, BACKGROUND] = background / 2
    embedding[:, CONSTANT] = 1.0
    flags = {
        BOS_KEY: ("<s>",),
        ASKS: ("?", "yes"),
        QUESTION: ("?",),
        ANSWERED: ("yes", "no"),
        EVIDENCE_KEY: tuple(EVIDENCE),
        SAID_KEY: tuple(PULL),
    }
    for dimension, words in flags.items():
        for word in words:
            embedding[VOCAB.index(word), dimension] = FLAG
    for dimension, values in ((EVIDENCE_VALUE, EVIDENCE), (SAID_VALUE, PULL)):
        for word, value in values.items():
            embedding[VOCAB.index(word), dimension] = value
    unembedding: Tensor = model.lm_head.weight
    for word, sign in (("yes", 0.5), ("no", -0.5)):
        row = unembedding[VOCAB.index(word)]
        row[CONSTANT], row[ANSWER_DIM], row[PULL_DIM] = 32.0, sign, sign
    unembedding[VOCAB.index("</s>"), ANSWERED] = 128.0 / FLAG  # after the answer the text ends


def _fill_background(model: Any, generator: torch.Generator) -> None:
    """Every head and neuron does something with the background dimensions."""
    width = BACKGROUND.stop - BACKGROUND.start

    def draw(rows: int, columns: int) -> Tensor:
        drawn = torch.randn((rows, columns), generator=generator, dtype=torch.float32)
        return drawn / math.sqrt(columns)

    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight[:, BACKGROUND] = draw(N_HEADS * D_HEAD, width)
        attention.o_proj.weight[BACKGROUND] = draw(width, N_HEADS * D_HEAD) / 2
        mlp.gate_proj.weight[:, BACKGROUND] = draw(D_MLP, width)
        mlp.up_proj.weight[:, BACKGROUND] = draw(D_MLP, width)
        mlp.down_proj.weight[BACKGROUND] = draw(width, D_MLP) / 2


def _plant_attention(model: Any) -> None:
    _plant_head(model, PLANTED["head"], asks=ASKS, key=EVIDENCE_KEY, value=EVIDENCE_VALUE)
    _plant_head(model, DECOY["head"], asks=ASKS, key=EVIDENCE_KEY, value=EVIDENCE_VALUE, size=-2.0)
    _plant_head(model, PULL_HEAD, asks=QUESTION, key=SAID_KEY, value=SAID_VALUE)
    # A head holds d_head equal values; each contributes a quarter of what is written.
    layer, head = PLANTED["head"]
    rows = slice(head * D_HEAD, (head + 1) * D_HEAD)
    for dimension, sign in zip(CARRIERS, CARRIER_SIGNS, strict=True):
        model.model.layers[layer].self_attn.o_proj.weight[dimension, rows] = sign / 8 / D_HEAD
    layer, head = PULL_HEAD
    rows = slice(head * D_HEAD, (head + 1) * D_HEAD)
    model.model.layers[layer].self_attn.o_proj.weight[PULL_DIM, rows] = 1 / D_HEAD


def _plant_head(
    model: Any, unit: tuple[int, int], *, asks: int, key: int, value: int, size: float = 1.0
) -> None:
    """Attend to ``key`` from tokens flagged ``asks``, from others to BOS, with value ``size * value`` and W_O = 0."""
    layer, head = unit
    attention = model.model.layers[layer].self_attn
    first = head * D_HEAD
    rows = slice(first, first + D_HEAD)
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight[rows] = 0.0
    attention.o_proj.weight[:, rows] = 0.0
    # Rotary pairs of d_head = 4 are (0, 2), turned by 1 a position, and (1, 3), turned by 1e-15: use 1 and 3.
    scale = math.sqrt(D_HEAD)
    attention.q_proj.weight[first + 1, asks] = scale * 2 * SCORE / FLAG
    attention.k_proj.weight[first + 1, key] = 1 / FLAG
    attention.q_proj.weight[first + 3, CONSTANT] = scale * SCORE
    attention.k_proj.weight[first + 3, BOS_KEY] = 1 / FLAG
    attention.v_proj.weight[rows, value] = size


def _plant_mlps(model: Any) -> None:
    for (layer, neuron), target, size in (
        (PLANTED["neuron"], ANSWER_DIM, 1.0),
        (DECOY["neuron"], DEAD_DIM, -2.0),
    ):
        mlp = model.model.layers[layer].mlp
        mlp.gate_proj.weight[neuron] = 0.0
        mlp.up_proj.weight[neuron] = 0.0
        mlp.down_proj.weight[:, neuron] = 0.0
        mlp.gate_proj.weight[neuron, CONSTANT] = 1.0
        mlp.up_proj.weight[neuron, CARRIERS.start : CARRIERS.stop] = size * CARRIER_SIGNS
        mlp.down_proj.weight[target, neuron] = 1.0
