"""What the oracle computes: the same calls on the package of any commit.

A public name is looked for in ``sadi_lens`` and then in its rooms, so that this file runs on the flat package from
which the numbers were frozen as well as on today's.
"""

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import numpy as np
from architectures import number_tokenizer, random_model
from factories import random_llama

POSITIONS = ("last_prompt", "every_step", "all")
COMPONENTS = ("head", "hidden", "mlp_out", "neuron")
ROOMS = ("types", "tasks", "engine", "models", "interventions", "find", "measure")
MODELS = ("llama", "gpt2", "bloom", "mistral_sliding", "tiny")
"""Grouped queries; learned positions; alibi, which shares no prefix; a sliding window; the embedded model."""
WHOLE = ("llama", "gpt2", "bloom")
"""Every kind on each of its components; on the others, on its first one."""
WORDS = re.findall(
    r"\w+", "the ball is red blue big small Tom says a hat box in green good bad Ann was"
)
QUIET = {"progress": False}


def public(name: str) -> Any:
    """A public name of ``sadi_lens``, wherever it lives."""
    import sadi_lens as sl

    for home in (sl, *(getattr(sl, room) for room in ROOMS if hasattr(sl, room))):
        if hasattr(home, name):
            return getattr(home, name)
    raise AttributeError(f"no public name {name!r} in sadi_lens")


def frozen_model(name: str) -> Any:
    """One of ``MODELS``, seeded."""
    load_model = public("load_model")
    if name == "tiny":
        return load_model("tiny")
    if name == "llama":
        model, tokenizer = random_llama()
        return load_model(model, tokenizer=tokenizer)
    return load_model(random_model(name), tokenizer=number_tokenizer())


def texts_of(name: str) -> tuple[list[Any], list[Any], list[str], list[str]]:
    """(pairs, samples, prompts, neutral texts): unequal lengths, answers of one and several tokens."""
    if name == "tiny":
        task = public("load_task")("hints")
        prompts = [sample.prompt for sample in task.dev[:3]]
        return (
            list(task.pairs[:6]),
            list(task.dev[:4]),
            prompts,
            [sample.prompt for sample in task.dev[5:7]],
        )
    words = WORDS if name == "llama" else [f"w{5 * index + 3}" for index in range(len(WORDS))]

    def text(*indices: int) -> str:
        return " ".join(words[index] for index in indices)

    prompts = [text(0, 1, 2), text(7, 8, 0, 5, 3, 10, 2, 12, 0), text(16, 17)]
    return (
        [
            public("ContrastivePair")(text(*prompt), f" {text(*right)}", f" {text(*wrong)}")
            for prompt, right, wrong in (
                ((0, 1, 2), (3,), (4,)),
                ((7, 8, 0, 5, 3, 10, 2, 12, 0), (11,), (1,)),
                ((16, 17), (14,), (15, 6)),
                ((0, 11, 2, 0, 6, 10), (13, 1), (4,)),
            )
        ],
        [
            public("Sample")(text(*prompt), tuple(f" {text(*one)}" for one in choices), answer)
            for prompt, choices, answer in (
                ((0, 1, 2), ((3,), (4,)), 0),
                ((7, 8, 0, 10, 2, 12, 0), ((11,), (5, 3, 11), (1,)), 1),
                ((0,), ((10,), (3, 10)), 1),
                ((16, 17, 5), ((14,), (15,)), 1),
            )
        ],
        prompts,
        [text(0, 3, 1, 2, 12, 0, 11), text(7, 17, 14, 16, 17, 15)],
    )


def makers(model: Any, pairs: list[Any], prompts: list[str]) -> dict[str, Callable[[str], Any]]:
    """kind -> component -> intervention; every kind that the library has."""
    found = public("activation_differences")(model, pairs, **QUIET)
    opposites = [one.strip() for one in (pairs[0].positive, pairs[0].negative)]

    def mask(component: str) -> Any:
        return public("top_k_mask")(found[component], 5)

    def scaling(component: str) -> Any:
        return public("MaskedScaling")(mask(component), 3.0)

    def addition(match: str) -> Callable[[str], Any]:
        return lambda component: public("MaskedAddition").from_differences(
            mask(component), found[component], 3.0, match=match
        )

    return {
        "scaling": scaling,
        "coefficient": addition("coefficient"),
        "norm": addition("norm"),
        "mean": addition("mean"),
        "vector": lambda c: public("VectorAddition").from_differences(found[c], 1, 3.0),
        "caa": lambda c: public("caa")(found[c], 1, 2.0),
        "signed": lambda c: public("SignedScaling").from_differences(mask(c), found[c], 3.0),
        "clamped_all": lambda c: public("Clamped")(scaling(c)),
        "clamped_selected": lambda c: public("Clamped")(scaling(c), scope="selected"),
        "austeer": lambda c: public("AUSteer").from_pairs(
            model, pairs, 12, 3.0, component=c, **QUIET
        ),
        "iti": lambda c: public("ITI").from_pairs(model, pairs, mask(c), 3.0, **QUIET),
        "actadd": lambda _: public("ActAdd").from_prompts(model, *opposites, 1, 3.0),
        "householder": lambda c: public("HouseholderRotation").from_pairs(
            model, pairs, 1, 1.5, component=c, **QUIET
        ),
        "spherical": lambda c: public("SphericalSteering").from_differences(
            found[c], 1, 3.0, kappa=5.0
        ),
        "cast": lambda c: public("CAST").from_pairs(model, pairs, 1, 3.0, component=c, **QUIET),
        "infer_aligner": lambda c: public("InferAlignerGate").from_differences(
            found[c], [1, 2], 3.0
        ),
        "control_token": lambda c: public("ControlToken")(scaling(c)),
        "swapped": lambda c: public("swap_prompts")(model, scaling(c), prompts, **QUIET),
    }


WITHOUT_HEADS = ("vector", "householder", "spherical", "cast", "infer_aligner")
ONLY = {"caa": ("hidden",), "iti": ("head",), "actadd": ("hidden",)}


def components_of(kind: str) -> tuple[str, ...]:
    """Components that a kind of intervention applies to."""
    return ONLY.get(kind, COMPONENTS[1:] if kind in WITHOUT_HEADS else COMPONENTS)


def numbers(name: str) -> Iterator[tuple[str, np.ndarray]]:
    """(key, array) of everything that is frozen for one model."""
    model = frozen_model(name)
    pairs, samples, prompts, neutral = texts_of(name)
    digest = sha256()
    for _, weight in sorted(model.raw_model.named_parameters()):
        digest.update(np.ascontiguousarray(weight.detach().float().cpu().numpy()).tobytes())
    yield "weights", np.frombuffer(digest.digest(), dtype=np.uint8)
    yield from differences(model, pairs)
    every = [*prompts, *(sample.prompt for sample in samples), *map(first_half, neutral)]
    made = makers(model, pairs, list(dict.fromkeys(every)))
    yield "unsteered/scores", evaluated(model, samples, None, "last_prompt")
    yield "unsteered/tokens", generated(model, prompts, None, "every_step")
    for kind, make in made.items():
        for component in components_of(kind) if name in WHOLE else components_of(kind)[:1]:
            intervention, key = make(component), f"{kind}/{component}"
            yield (
                f"{key}/scores",
                np.stack([evaluated(model, samples, intervention, one) for one in POSITIONS]),
            )
            yield f"{key}/push", pushed(model, prompts, intervention)
            if component == components_of(kind)[0]:
                found = [generated(model, prompts, intervention, one) for one in POSITIONS]
                yield f"{key}/tokens", np.stack(found)
                effects = [
                    affected(model, prompts, neutral, intervention, one) for one in POSITIONS
                ]
                yield f"{key}/effects", np.stack(effects)
    yield from swept(model, samples, pairs)


def differences(model: Any, pairs: list[Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Moments and the order of units that follows from them."""
    found = public("activation_differences")(model, pairs, **QUIET)
    for component in COMPONENTS:
        one = found[component]
        for field in ("mean", "std", "vector", "prompt_mean", "prompt_rms"):
            yield f"differences/{component}/{field}", getattr(one, field)
        units = public("top_k_mask")(one, 10).units
        yield f"differences/{component}/top", np.array(units, dtype=np.int16)


def evaluated(model: Any, samples: list[Any], intervention: Any, position: str) -> np.ndarray:
    """[item, (choices..., margin)], nats; ``correct`` and ``valid`` follow as two columns of 0 and 1."""
    found = public("evaluate")(model, samples, intervention, position=position, **QUIET)
    flags = np.stack([found.margins, found.correct, found.valid], axis=1)
    return np.concatenate([found.choice_scores, flags], axis=1).astype(np.float32)


def generated(model: Any, prompts: list[str], intervention: Any, position: str) -> np.ndarray:
    """Tokens of each continuation, -1 after its end."""
    texts = public("generate")(
        model,
        prompts,
        intervention,
        position=position,
        max_new_tokens=6,
        eos_token_id=None,
        skip_special_tokens=False,
    )
    rows = [model.tokenizer(text, add_special_tokens=False)["input_ids"][:8] for text in texts]
    return np.array([row + [-1] * (8 - len(row)) for row in rows], dtype=np.int16)


def first_half(text: str) -> str:
    """What ``side_effects`` lets the model continue: up to the first space from the middle on."""
    return text[: text.index(" ", len(text) // 2)]


def affected(
    model: Any, prompts: list[str], neutral: list[str], intervention: Any, position: str
) -> np.ndarray:
    """Next-token KL after prompts; KL a token and perplexity ratio on neutral texts."""
    asked = [(prompt, "") for prompt in prompts]
    near = public("divergence")(model, asked, intervention, position=position)
    far = public("side_effects")(model, neutral, intervention, position=position, max_new_tokens=4)
    return np.array([near.kl, far.kl, far.perplexity_ratio])


def pushed(model: Any, prompts: list[str], intervention: Any) -> np.ndarray:
    """Length of the mean push in each layer, and its root mean square."""
    push = public("measure_push")(model, prompts, intervention, **QUIET)
    norms = np.sqrt(np.square(push.mean.astype(np.float64)).sum(axis=(1, 2)))
    return np.append(norms, push.rms)


def swept(model: Any, samples: list[Any], pairs: list[Any]) -> Iterator[tuple[str, np.ndarray]]:
    """[position, (accuracy, margin, valid rate), k, strength] of every component."""
    found = public("activation_differences")(model, pairs, **QUIET)
    for component in COMPONENTS:
        grids = [
            public("sweep")(
                model, samples, found[component], [1, 4, 9], [0.5, 2.0], position=one, **QUIET
            )
            for one in POSITIONS
        ]
        tables = [np.stack([grid.accuracy, grid.margin, grid.valid_rate]) for grid in grids]
        yield f"sweep/{component}", np.stack(tables)
