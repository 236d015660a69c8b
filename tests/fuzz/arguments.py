"""One bad argument at a time, thrown at every public callable: it works, or is refused by name.

Run as a script (``make fuzz``), outside pytest: there the shape checker of the tests would answer first.
"""

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

REFUSED = (ValueError, TypeError, OSError)
ROOMS = ("engine", "find", "interventions", "measure", "models", "tasks", "types")
NOT_CALLED = {
    "engine.choose_batch": "takes a number of tokens from inside",
    "engine.read_activations": "takes token ids from inside",
    "interventions.Affine": "a tuple of tensors",
    "interventions.AffineIntervention": "a base class",
    "interventions.Context": "made by the library",
    "interventions.ContextualIntervention": "a base class",
    "interventions.Intervention": "a protocol",
    "interventions.Push": "made by the library",
    "measure.Control": "holds a function that compare calls",
    "measure.Method": "holds a function that compare calls",
    "measure.load_classifier": "needs a classifier on disk",
    "models.KnownModel": "made by the library",
    "models.LoadRecord": "made by the library",
    "models.SelfCheck": "made by the library",
    "models.planted_model": "takes a minute; only a seed",
    "tasks.SuggestItem": "made by suggest_items",
    "tasks.load_benchmark": "needs a data set on disk; its own tests",
    "tasks.read_benchmark": "needs a data set on disk; its own tests",
}
SAME_AS = {
    "source": {"row", "task"},
    "reference": {"method"},
    "methods": {"intervention", "pairs"},
    "component": {"hidden"},
    "items": {"samples"},
    "n_steps": {"max_new_tokens"},
    "name": {"could not load"},
    "task_or_pairs": {"samples", "pairs"},
    "path": {"task.jsonl exists", "cannot write", "is a folder"},
}
"""What a message may call an argument instead."""
MADE_INSIDE = "sadi_lens.types.results"
"""Results are made by the library and checked when they are loaded."""


class Case(NamedTuple):
    """A call that works."""

    name: str
    call: Callable[..., Any]
    arguments: dict[str, Any]


def cases() -> list[Case]:
    """One or more a public callable."""
    import numpy as np
    from factories import random_llama, word_tokenizer

    import sadi_lens as sl

    hf, tokenizer = random_llama(num_hidden_layers=2)
    model = sl.load_model(hf, tokenizer=tokenizer)
    pairs = [
        sl.ContrastivePair("the ball is", " red", " blue"),
        sl.ContrastivePair("Tom says the hat is in the", " box", " ball"),
        sl.ContrastivePair("the box was", " big", " small"),
    ]
    samples = [
        sl.Sample("the ball is", (" red", " blue"), 0, split="dev"),
        sl.Sample("Tom says the hat is in the", (" box", " ball"), 1, split="dev"),
    ]
    dev = [
        sl.Sample(f"{name} says the ball was", (" red", " blue"), 1, split="dev")
        for name in ("Ann", "Tom")
    ]
    others = [sl.Sample("the hat was", (" red", " blue"), 0, split="test")]
    task = sl.Task("words", tuple(pairs), tuple(dev), tuple(others))
    moments = sl.activation_differences(model, pairs, progress=False)
    heads = moments["head"]
    info = heads.model
    mask = sl.top_k_mask(heads, 2)
    sadi = sl.MaskedScaling(mask, 1.0)
    prompts = ["the ball is", "Tom says the"]
    told = sl.ContrastivePair("Ann says", " red", " blue", negative_prompt="Tom says")
    chatty = word_tokenizer()
    chatty.chat_template = "{% for one in messages %}{{ one.content }} : {% endfor %}"
    unit, vector = [1.0] + [0.0] * 31, np.ones((2, 4, 8))
    cell, cell2 = (sl.measure.Candidate(sl.MaskedScaling(mask, s), 2, s) for s in (1.0, 2.0))
    quiet = {"progress": False}
    on = {"model": model, **quiet}
    stored = Path("stored")
    sl.save(mask, stored)
    evaluation, steered = sl.evaluate(model, samples, [None, sadi], progress=False)
    units = sl.find.unit_differences(model, pairs, mask, progress=False)
    parts = [
        sl.measure.run_shard(sl.evaluate, model, samples, shard=(at, 2), progress=False)
        for at in (0, 1)
    ]
    rooms: dict[str, dict[str, Any]] = {
        "engine.generate": {
            "model": model, "prompts": prompts, "intervention": sadi, "position": "all", "max_new_tokens": 2,
            "use_cache": True, "prepend_bos": None, "batch_size": 2, "seed": 0, "skip_special_tokens": True,
            "stream": False, "return_tokens": False,
        },
        "engine.steer": {"model": model, "intervention": sadi, "position": "all", "prompt_lengths": [3]},
        "engine.fwd_hooks": {
            "intervention": sadi, "position": "all", "attention_mask": None, "prompt_lengths": None,
            "model": model,
        },
        "find.activation_differences": {
            **on, "pairs": pairs, "components": ["head"], "task": "", "prepend_bos": None, "max_tokens": 64,
            "too_long": "error",
        },
        "find.learn_scalars": {
            **on, "pairs": pairs, "component": "head", "penalty": 0.01, "steps": 1, "learning_rate": 0.3, "batch": 2,
            "position": "all", "seed": 0,
        },
        "find.unit_differences": {
            **on, "pairs": [*pairs, told], "mask": mask, "task": "", "prepend_bos": None, "max_tokens": 64,
        },
        "find.probe_accuracy": {
            "features": np.arange(16.0).reshape(8, 2), "labels": [0, 1] * 4, "groups": None, "n_folds": 2, "seed": 0,
        },
        "find.sign_agreement": {**on, "inputs": pairs, "differences": heads, "prepend_bos": None},
        "find.unit_scores": {
            **on, "task_or_pairs": pairs, "component": "head", "ranking": "effect", "n_folds": 2, "seed": 0,
            "prepend_bos": None, "max_tokens": 64,
        },
        "measure.evaluate": {
            **on, "samples": samples, "intervention": sadi, "position": "all", "scoring": "sum", "task": "",
            "label": None, "prepend_bos": None, "max_new_tokens": 2, "engine": "shared",
            "too_long": "error", "resume": None,
        },
        "measure.sweep": {
            **on, "samples": samples, "differences": heads, "ks": [1, 2], "strengths": [1.0], "ranking": None,
            "make": sl.MaskedScaling, "method": "scaling", "position": "all", "scoring": "sum", "max_new_tokens": 2,
            "prepend_bos": None, "keep_items": False, "engine": "shared", "too_long": "error", "resume": None,
        },
        "measure.null_band": {
            **on, "samples": samples, "mask": mask, "strength": 1.0, "n": 2, "per_layer": False, "tune_on": dev,
            "cells": [(mask, 2.0)], "seed": 0, "position": "all", "scoring": "sum", "task": "", "max_new_tokens": 2,
            "prepend_bos": None,
        },
        "measure.compare": {
            **on, "task": task, "methods": ["sadi-head"], "component": "head", "position": "all", "budget": 2,
            "controls": "main", "written": False, "n_null": 0, "tune_null": False, "neutral": [], "reference": None,
            "scoring": "sum", "max_new_tokens": 2, "seed": 0,
        },
        "measure.run_shard": {**on, "function": sl.evaluate, "items": samples, "shard": (0, 2)},
        "measure.shard_of": {"shard": (0, 2)},
        "measure.merge": {"shards": parts, "items": samples},
        "measure.Candidate": {
            "intervention": sadi, "k": 2, "strength": 1.0, "before": "", "build": None, "words": "", "rebuild": None,
        },
        "measure.Grid": {
            "cells": (cell, cell2), "ks": (2,), "strengths": (1.0, 2.0), "component": "head", "ranking": "x",
            "method": "x", "axis": "K", "task": "",
        },
        "measure.divergence": {
            "model": model, "texts": [("the ball", " is red")], "intervention": sadi, "steered": None, "before": "",
            "position": "all",
        },
        "measure.side_effects": {
            "model": model, "texts": ["the ball is red"], "intervention": sadi, "steered": None, "before": "",
            "position": "all", "max_new_tokens": 4,
        },
        "measure.match_kl": {
            "model": model, "prompts": prompts, "intervention": sadi,
            "make": lambda strength: sl.MaskedScaling(mask, strength), "position": "all", "start": 1.0,
            "tolerance": 0.5,
        },
        "measure.measure_push": {
            **on, "prompts": prompts, "intervention": sadi, "prepend_bos": None, "max_tokens": 64,
        },
        "measure.record_pushes": {
            **on, "intervention": sadi, "prompts": prompts, "prepend_bos": None, "max_tokens": 64,
        },
        "measure.head_paths": {"model": model, "task": task, "scaling": sadi, "split": "dev", "seed": 0},
        "measure.resample_ablation": {"model": model, "mask": mask, "prompts": prompts, "seed": 0},
        "measure.rankings_table": {
            "model": model, "task": task, "component": "head", "rankings": ["signed"], "budget": 2, "position": "all",
            "seed": 0,
        },
        "measure.swap_prompts": {
            **on, "intervention": sadi, "prompts": prompts, "donors": None, "seed": 0, "prepend_bos": None,
            "max_tokens": 64,
        },
        "measure.mask_stability": {
            **on, "task_or_pairs": pairs, "component": "head", "k": 1, "ranking": "signed", "n_boot": 2, "seed": 0,
            "prepend_bos": None,
        },
        "measure.pairs_needed": {
            **on, "task_or_pairs": pairs, "component": "head", "k": 1, "sizes": [1, 3], "samples": None,
            "strength": None, "ranking": "signed", "n_draws": 1, "seed": 0, "position": "all", "scoring": "sum",
            "max_new_tokens": 2, "prepend_bos": None,
        },
        "measure.prune_mask": {
            **on, "samples": samples, "mask": mask, "strength": 1.0, "keep": 0.5, "n_candidates": 1,
            "position": "all", "scoring": "sum", "prepend_bos": None,
        },
        "measure.unit_effects": {
            **on, "samples": samples, "mask": mask, "strength": 1.0, "at": 0.0, "position": "all",
            "prepend_bos": None,
        },
        "measure.check": {
            "model": model, "intervention": sadi, "prompts": prompts, "position": "all", "n_steps": 1,
            "prepend_bos": None,
        },
        "measure.receipt": {
            "model": model, "prompt": "the ball", "intervention": sadi, "position": "all", "max_new_tokens": 2,
            "prepend_bos": None,
        },
        "measure.scoring_table": {
            "model": model, "samples": samples, "interventions": [sadi], "scorings": ["sum"],
        },
        "measure.side_effect_curve": {
            **on, "samples": samples, "texts": ["the ball is red"],
            "make": lambda strength: sl.MaskedScaling(mask, strength), "strengths": [1.0], "label": "x",
            "kind": "adaptive", "position": "all", "text_position": "all", "scoring": "sum", "task": "",
            "prepend_bos": None,
        },
        "measure.sign_flip_null": {"differences": units, "draws": 20, "seed": 0},
        "measure.token_roles": {"model": model, "pair": pairs[0], "position": "all", "side": "positive"},
        "measure.trace_generation": {
            "model": model, "prompt": "the ball", "intervention": sadi, "text": None, "position": "all",
            "max_new_tokens": 2, "label": "", "kind": "other",
        },
        "measure.truthful_scores": {"evaluation": evaluation, "samples": samples},
        "measure.unit_activations": {**on, "pairs": pairs, "mask": mask, "task": "", "max_tokens": 64},
        "measure.all_unit_differences": {**on, "pairs": pairs, "component": "head", "task": ""},
        "measure.activation_shifts": {
            "model": model, "prompts": prompts * 2, "methods": {"a": sadi}, "layer": 0, "component": "hidden",
            "kinds": None, "groups": (), "confounds": (), "matched": "", "task": "", "max_tokens": 64,
        },
        "measure.open_ended_scores": {
            "model": model, "prompts": prompts, "texts": [" red", " ball"], "classifier": None,
        },
        "interventions.MaskedScaling": {"mask": mask, "strength": 1.0},
        "interventions.MaskedAddition": {"mask": mask, "vector": vector, "strength": 1.0, "name": "x"},
        "interventions.VectorAddition": {
            "vector": unit, "layer": 1, "strength": 1.0, "component": "hidden", "name": "x",
        },
        "interventions.SignedScaling": {"mask": mask, "direction": vector, "strength": 1.0, "opposed": "damp"},
        "interventions.AUSteer": {"gain": vector, "strength": 1.0, "component": "head"},
        "interventions.CAST": {
            "vector": unit, "layer": 1, "condition": unit, "condition_layer": 0, "threshold": 0.0, "strength": 1.0,
            "fires_above": True, "component": "hidden",
        },
        "interventions.ITI": {"mask": mask, "directions": vector, "sigma": np.ones((2, 4)), "strength": 1.0},
        "interventions.ActAdd": {"vector": [unit], "layer": 1, "strength": 1.0, "component": "hidden"},
        "interventions.HouseholderRotation": {
            "direction": unit, "angle": 1.0, "layer": 1, "strength": 1.0, "component": "hidden",
        },
        "interventions.SphericalSteering": {
            "direction": unit, "layer": 1, "strength": 1.0, "kappa": 20.0, "threshold": 0.1, "component": "hidden",
        },
        "interventions.InferAlignerGate": {
            "push": [unit], "gate": [unit], "bias": [0.0], "steered": (1,), "strength": 1.0, "component": "hidden",
        },
        "interventions.SwappedPrompt": {
            "component": "hidden", "prompts": ((1, 2),), "pushes": np.ones((1, 1, 32, 1)), "steered": (1,),
            "name": "x", "strength": 1.0,
        },
        "interventions.DirectPath": {
            "component": "hidden", "prompts": ((1, 2),), "pushes": np.ones((1, 1, 32, 1)), "steered": (1,),
            "name": "x", "strength": 1.0,
        },
        "interventions.MeanAblation": {"mask": mask, "means": vector},
        "interventions.ResampleAblation": {"mask": mask, "prompts": ((1, 2),), "values": vector[None]},
        "interventions.UnitScaling": {"component": "head", "scales": np.ones((2, 4))},
        "interventions.TDA": {
            "prompts": ((1, 2),), "kept": np.ones((1, 2, 48), dtype=bool), "cett": 0.2, "component": "neuron",
        },
        "interventions.tail_thresholds": {"model": model, "prompts": prompts, "cett": 0.2},
        "interventions.Clamped": {"inner": sadi, "scope": "all"},
        "interventions.ControlToken": {"inner": sadi},
        "interventions.caa": {"differences": moments["hidden"], "layer": 1, "strength": 1.0},
        "interventions.export_folded": {
            "model": model, "intervention": sadi, "path": "folded", "position": "all", "overwrite": True,
        },
        "models.load_model": {
            "name": hf, "tokenizer": tokenizer, "dtype": None, "device": None, "device_map": None, "self_check": False,
            "revision": None, "trust_remote_code": False, "local_files_only": True,
        },
        "models.load_record": {"model": model},
        "models.planted_task": {"pulls": True},
        "models.fine_tune": {
            "model": model, "texts": [("the ball is", " red")], "learning_rate": 0.001, "epochs": [1], "rank": 1,
            "seed": 0,
        },
        "models.Tuned": {
            "base": model, "adapters": {}, "rank": 1, "learning_rate": 0.001, "epochs": 1, "seed": 0, "losses": (1.0,),
        },
        "tasks.load_task": {
            "source": [{"prompt": "a", "target": "b"}], "name": None, "columns": None, "space": None,
            "split": None,
        },
        "tasks.make_pairs": {
            "items": samples, "negatives": "random", "seed": 0, "choice_scores": None, "texts": (),
        },
        "tasks.balance_pairs": {"pairs": [*pairs, sl.ContrastivePair("the", " blue", " red")], "seed": 0},
        "tasks.published_table": {"table": "table1"},
        "tasks.suggest_items": {
            "families": ["day"], "wordings": ["student"], "ending": "statement", "seed": 0, "known": None,
        },
        "tasks.suggest_unaided": {"families": ["day"], "ending": "statement", "seed": 0},
        "tasks.with_chat_template": {"task": task, "tokenizer": chatty, "system": None, "history": []},
        "tasks.write_task": {"task": task, "path": "task.jsonl"},
        "tasks.with_examples": {"task": task, "k": 0, "seed": 0},
        "types.ContrastivePair": {"prompt": "a", "positive": "b", "negative": "c", "negative_prompt": None},
        "types.Sample": {
            "prompt": "a", "choices": ("b", "c"), "answer": 0, "target": None, "split": "dev", "also_right": (),
            "aliases": (), "cluster": None, "group": None,
        },
        "types.Task": {
            "name": "t", "pairs": tuple(pairs), "dev": (), "test": (), "description": "", "prompts": (),
            "pair_items": (),
        },
        "types.Mask": {"component": "head", "selected": [[True]], "rule": "x", "model": None, "provenance": {}},
        "types.top_k_mask": {"differences": heads, "k": 1, "ranking": None, "largest": True},
        "types.random_mask": {"like": mask, "k": 1, "seed": 0, "per_layer": False},
        "types.Scores": {
            "component": "head", "ranking": "x", "values": np.ones((2, 4)), "model": info, "n": 3, "task": "",
        },
        "types.what_changed": {"steered": steered, "base": evaluation},
        "types.load": {"path": stored, "model": model, "allow_other_weights": False},
        "types.save": {"thing": mask, "path": "saved"},
    }  # fmt: skip
    found = [Case(name, _public(name), arguments) for name, arguments in rooms.items()]
    found.append(Case("measure.journal", _entered(sl.measure.journal), {"folder": "kept"}))
    layer = {"layer": 1, "strength": 1.0}
    made, hidden = sl.interventions, {"differences": moments["hidden"]}
    of_pairs = {**on, "pairs": pairs, **layer, "component": "hidden", "prepend_bos": None}
    found += [
        Case(
            "Mask.from_units",
            sl.Mask.from_units,
            {"component": "head", "units": [(0, 0)], "model": info},
        ),
        Case(
            "measure.prompting",
            lambda instructions: sl.measure.prompting("x", instructions),
            {"instructions": "Do not lie."},
        ),
        Case(
            "CAST.from_pairs",
            made.CAST.from_pairs,
            {**of_pairs, "condition_layer": 0, "labelled": (["the ball"], ["the hat"])},
        ),
        Case("HouseholderRotation.from_pairs", made.HouseholderRotation.from_pairs, of_pairs),
        Case(
            "SphericalSteering.from_differences",
            made.SphericalSteering.from_differences,
            {**hidden, **layer, "kappa": 20.0, "threshold": 0.1},
        ),
        Case(
            "TDA.from_prompts",
            made.TDA.from_prompts,
            {"model": model, "prompts": prompts, "cett": 0.2, "thresholds": None},
        ),
        Case(
            "MeanAblation.from_differences",
            made.MeanAblation.from_differences,
            {"mask": mask, "differences": heads},
        ),
    ]
    _require_all({case.name for case in found})
    return found


def _entered(manager: Callable[..., Any]) -> Callable[..., None]:
    """A context manager refuses what it is given when it is entered."""

    def call(**arguments: Any) -> None:
        with manager(**arguments):
            pass

    return call


def _public(name: str) -> Callable[..., Any]:
    import sadi_lens as sl

    room, _, attribute = name.partition(".")
    return getattr(getattr(sl, room), attribute)


def _require_all(known: set[str]) -> None:
    """Every public callable has a case, or a reason in ``NOT_CALLED``."""
    import sadi_lens as sl

    for room in ROOMS:
        module = getattr(sl, room)
        for name in module.__all__:
            thing, full = getattr(module, name), f"{room}.{name}"
            is_class = isinstance(thing, type)
            is_result = is_class and thing.__module__.startswith(MADE_INSIDE)
            is_error = is_class and issubclass(thing, BaseException)
            is_made = name in ("ActivationDifferences", "ModelInfo", "UnitDifferences")
            if callable(thing) and not (is_result or is_error or is_made):
                assert full in known or full in NOT_CALLED, f"{full} has no case"


def bad_values() -> Any:
    """A strategy over functions that make a value of the one that works (a generator can be used once)."""
    import numpy as np
    import torch
    from hypothesis import strategies as st

    fixed: list[Any] = [
        None, True, False, 0, -1, 1, 2, 3.0, 2.5, float("nan"), float("inf"), float("-inf"), 10**30, -(10**400),
        1e30, 1e-300, 1j, "", " ", "x", "tiny", "head", "heads", "al", "\0", "a" * 5000, "\ud800", b"x", [], [1],
        ["x"], [None], [[1], [1, 2]], (1.0, 2.0), [(1.0, 2.0)], [True], {}, {"a": 1}, {1: "a"}, {1, 2}, frozenset("ab"),
        range(3), object(), Ellipsis, int, len, Path("x"), np.int64(-1), np.float32("nan"), np.bool_(True),
        np.array([1, 2]), np.array([[np.nan]]), np.array("x"), np.zeros((0, 3)), torch.zeros(2), [1, 1], [-1], [2.5],
        [float("nan")], [1e30], ["x", "x"], [("a", "b")], NotImplemented,
    ]  # fmt: skip
    makers = [lambda _, value=value: value for value in fixed]
    makers += [lambda _: (one for one in (1, 2)), lambda _: iter(["x"]), lambda _: map(str, [1])]
    near: list[Callable[[Any], Any]] = [
        lambda good: good[:1], lambda good: good[:0], lambda good: good * 2, lambda good: [*good, None],
        lambda good: (*good[:-1], good[0]), lambda good: -good, lambda good: good * 10**30, lambda good: good + 0.5,
        lambda good: np.asarray(good) * np.nan, lambda good: np.asarray(good)[..., :1], lambda good: np.asarray(good),
        lambda good: np.asarray(good)[None], lambda good: [good], lambda good: f"{good} ", lambda good: {"a": good},
        lambda good: good.upper(), lambda good: tuple(good), lambda good: list(good)[::-1], lambda good: type(good),
    ]  # fmt: skip
    leaf = st.integers() | st.floats() | st.text(max_size=8)
    grown = leaf | st.lists(leaf, min_size=1, max_size=3)
    return st.one_of(
        st.sampled_from(makers), st.sampled_from(near), grown.map(lambda value: lambda _: value)
    )


def _made(make: Callable[[Any], Any], good: Any) -> Any:
    """The value; what a call works with already, where nothing like it can be made."""
    try:
        return make(good)
    except Exception:
        return good


def outcome(case: Case, name: str, value: Any) -> tuple[str, str]:
    """How the call with one argument replaced ends, and the message."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found = case.call(**{**case.arguments, name: value})
            if hasattr(found, "__enter__") and not isinstance(found, io.IOBase):
                with found:
                    pass
    except REFUSED as error:
        words = {name, name.removesuffix("s"), *SAME_AS.get(name, ())}
        text = str(error)
        is_theirs = name in ("make", "classifier", "stream") and callable(
            value
        )  # what the caller's own function raises
        named = is_theirs or any(re.search(rf"(?<![A-Za-z_]){word}", text) for word in words)
        return (
            "refused by name" if named else "refused, argument not named"
        ), f"{type(error).__name__}: {text}"
    except Exception as error:
        return f"bare {type(error).__name__}", f"{type(error).__name__}: {error}"
    return "works", ""


def fuzz(count: int, seed: int, only: str = "") -> tuple[Counter[str], dict[str, str]]:
    """Counts by outcome, and an example of each failure."""
    import hypothesis
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    known = [case for case in cases() if only in case.name]
    for case in known:
        name, value = next(iter(case.arguments.items()))
        end, message = outcome(case, name, value)
        assert end == "works", f"{case.name}: {message}"
    targets = [(case, name) for case in known for name in case.arguments]
    counts: Counter[str] = Counter()
    failures: dict[str, str] = {}

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(targets), bad_values())
    def throw(target: tuple[Case, str], make: Callable[[Any], Any]) -> None:
        case, name = target
        good = case.arguments[name]
        end, message = outcome(case, name, _made(make, good))
        counts[end] += 1
        if end not in ("works", "refused by name"):
            value = _made(make, good)
            failures.setdefault(f"{case.name}({name}) {end}", f"{value!r:.80} -> {message:.300}")

    throw()
    return counts, failures


def main() -> int:
    """Print counts by outcome; 1 where a call ended as none may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=int(os.environ.get("SADI_LENS_FUZZ", "300")))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of a callable's name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        counts, failures = fuzz(options.count, options.seed, options.only)
    for end, n in counts.most_common():
        print(f"{n:7d}  {end}")
    for where, what in sorted(failures.items()):
        print(f"{where}: {what}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
