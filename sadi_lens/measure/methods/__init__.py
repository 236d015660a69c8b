"""Ways to steer that can stand side by side, by name: the one table of methods.

A method sees the model and the contrastive pairs, never dev or test; which of its candidates runs is decided on dev.
"""

from collections.abc import Callable
from functools import partial

from sadi_lens.measure.candidates import Candidate
from sadi_lens.measure.methods import donors, prompting, rivals, sadi, tuning
from sadi_lens.measure.methods.base import (
    BUDGET,
    Candidates,
    Control,
    Material,
    Method,
    UnavailableError,
    grid,
)

_ranked = partial(Method, axis="K", is_ranked=True)
_on_heads = partial(Method, axis="K", component="head")
_on_layers = partial(Method, axis="layer", component="hidden")


def _told(
    name: str, fits: Callable[[donors.Donor, donors.Donor], bool], mean: bool = False
) -> Control:
    return Control(name, "other", partial(donors.donated, fits, mean), per_samples=True)


METHODS: dict[str, Method | Control] = {
    one.name: one
    for one in (
        Method(
            "unsteered",
            "unsteered",
            lambda _material, _budget: [Candidate(None)],
            about="the model as it is",
        ),
        _ranked("sadi", "adaptive", sadi.sadi, about="scale the selected units (SADI)"),
        *(
            _ranked(
                f"sadi-{component}",
                "adaptive",
                sadi.sadi,
                component=component,
                about=f"SADI on {component} units",
            )
            for component in ("head", "hidden", "mlp_out", "neuron")
        ),
        Method(
            "sadi-effect",
            "adaptive",
            sadi.sadi,
            ranking="effect",
            axis="K",
            about="SADI on the units whose scaling raises the margin of the pairs most, to first order",
        ),
        _ranked(
            "sadi-signed",
            "adaptive",
            sadi.signed,
            about="scale the selected units up where they point along D, down where against it",
        ),
        _ranked(
            "clamped", "adaptive", sadi.clamped, about="SADI as its reference code runs it, clamped"
        ),
        _ranked(
            "fixed",
            "fixed",
            partial(sadi.fixed, "coefficient"),
            about="add the mean difference on the same units (the paper's ablation, Eq. 6)",
        ),
        _ranked(
            "fixed-norm",
            "fixed",
            partial(sadi.fixed, "norm"),
            about="add the mean difference on the same units, as long as strength times their activations",
        ),
        _ranked(
            "fixed-mean",
            "fixed",
            partial(sadi.fixed, "mean"),
            about="add SADI's own mean push on the same units",
        ),
        Control("matched-norm", "fixed", partial(sadi.matched, "norm")),
        Control("matched-mean", "fixed", partial(sadi.matched, "mean")),
        Control("matched-kl", "fixed", sadi.matched_kl),
        Method(
            "actadd", "fixed", rivals.actadd, about="add the difference of two prompts (ActAdd)"
        ),
        _on_layers(
            "caa",
            "fixed",
            rivals.caa_layers,
            "every_step",
            about="add the mean difference to the residual stream after one layer (CAA)",
        ),
        _on_heads(
            "iti",
            "fixed",
            rivals.iti,
            "every_step",
            draws=True,
            about="push the heads that a probe reads best along its direction (ITI)",
        ),
        _on_heads(
            "austeer",
            "adaptive",
            rivals.austeer,
            "all",
            about="scale the values of head outputs that differ most consistently (AUSteer)",
        ),
        _on_layers(
            "cast",
            "adaptive",
            rivals.cast,
            "all",
            about="add a vector after one layer to prompts like those that the model answers wrong (CAST)",
        ),
        _on_layers(
            "hpr",
            "adaptive",
            rivals.hpr,
            "all",
            about="turn activations past a probe's hyperplane after one layer (HPR)",
        ),
        Method(
            "spherical",
            "adaptive",
            rivals.spherical,
            "every_step",
            about="turn activations towards the mean difference after one layer (Spherical Steering)",
        ),
        Method(
            "gate",
            "adaptive",
            rivals.gate,
            "all",
            about="gated pushes at one layer or all, along answers (after InferAligner)",
        ),
        Method(
            "bottom-k",
            "other",
            partial(sadi.smallest, "magnitude"),
            axis="K",
            about="SADI on the units that differ least between right and wrong answers",
        ),
        Method(
            "exchanged",
            "other",
            partial(sadi.smallest, "signed"),
            axis="K",
            about="SADI with the right and wrong answer of every pair exchanged",
        ),
        Control("swapped-prompt", "other", sadi.swapped, per_prompts=True),
        _told("same-answer", donors.same_answer),
        _told("same-cue", donors.same_cue),
        _told("other-answer", donors.other_answer),
        _told("class-mean", donors.same_answer, mean=True),
        Control("own-direction", "other", donors.own_direction, per_prompts=True),
        Control("own-norm", "other", donors.own_norm, per_prompts=True),
        Control("control-token", "other", sadi.control_token),
        Method(
            "random",
            "random",
            sadi.random,
            axis="K",
            draws=True,
            about="SADI on another random mask in every cell of the grid",
        ),
        Method(
            "random-supervised",
            "random",
            sadi.random_supervised,
            axis="K",
            draws=True,
            about="SADI on the random mask that does best on the pairs: supervised selection without a ranking",
        ),
        Method(
            "random-ranking",
            "random",
            sadi.random_ranking,
            axis="K",
            draws=True,
            about="SADI on a random order of the units",
        ),
        prompting.prompting(),
        Method(
            "few-shot",
            "other",
            prompting.few_shot,
            draws=True,
            about="pairs with their right answers before every prompt, no steering",
        ),
        Method(
            "tda",
            "adaptive",
            rivals.tda,
            "generated",
            about="neurons that the prompt does not use are off while the model writes (TDA)",
        ),
        Method(
            "scalars",
            "adaptive",
            tuning.scalars,
            draws=True,
            about="scale every unit by a strength that is learned from the pairs (ActivScalar)",
        ),
        Method(
            "sft",
            "other",
            tuning.sft,
            draws=True,
            about="fine-tune low-rank adapters on the right answers of the pairs (LoRA)",
        ),
        Method(
            "sft-sadi",
            "adaptive",
            sadi.sadi,
            axis="K",
            is_ranked=True,
            upon="sft",
            about="SADI on the fine-tuned model, its units found anew there",
        ),
    )
}
"""Every method by name, in the order of a comparison's table."""

ON_REQUEST = (
    "sadi",
    "random-ranking",
    "prompting",
    "few-shot",
    "tda",
    "scalars",
    "sft",
    "sft-sadi",
)
"""Methods that ``compare`` runs only when named: two that it has in another form (SADI by component, a random mask in
every cell), and those that change the prompt, act on generated tokens alone, or train something."""

__all__ = [
    "BUDGET",
    "METHODS",
    "ON_REQUEST",
    "Candidate",
    "Candidates",
    "Control",
    "Material",
    "Method",
    "UnavailableError",
    "grid",
]
