"""Ways to steer that can stand side by side, by name.

A method sees the model and the contrastive pairs, never dev or test; which of its candidates runs is decided on dev.
"""

from functools import partial

from sadi_lens.measure.methods import rivals, sadi
from sadi_lens.measure.methods.base import BUDGET, Control, Material, Method, UnavailableError, grid

METHODS: dict[str, Method | Control] = {
    one.name: one
    for one in (
        Method("unsteered", "unsteered", lambda _material, _budget: [None]),
        Method("sadi-head", "adaptive", partial(sadi.sadi, "head")),
        Method("sadi-hidden", "adaptive", partial(sadi.sadi, "hidden")),
        Method("sadi-mlp_out", "adaptive", partial(sadi.sadi, "mlp_out")),
        Method("sadi-neuron", "adaptive", partial(sadi.sadi, "neuron")),
        Method("sadi-effect", "adaptive", sadi.by_effect),
        Method("sadi-signed", "adaptive", sadi.signed),
        Method("clamped", "adaptive", sadi.clamped),
        Method("fixed", "fixed", partial(sadi.fixed, "coefficient")),
        Method("fixed-norm", "fixed", partial(sadi.fixed, "norm")),
        Method("fixed-mean", "fixed", partial(sadi.fixed, "mean")),
        Control("matched-norm", "fixed", partial(sadi.matched, "norm")),
        Control("matched-mean", "fixed", partial(sadi.matched, "mean")),
        Control("matched-kl", "fixed", sadi.matched_kl),
        Method("actadd", "fixed", rivals.actadd),
        Method("caa", "fixed", rivals.caa_layers, "every_step"),
        Method("iti", "fixed", rivals.iti, "every_step"),
        Method("austeer", "adaptive", rivals.austeer, "all"),
        Method("cast", "adaptive", rivals.cast),
        Method("hpr", "adaptive", rivals.hpr),
        Method("spherical", "adaptive", rivals.spherical, "every_step"),
        Method("gate", "adaptive", rivals.gate),
        Method("bottom-k", "other", sadi.bottom_k),
        Method("sign-flipped", "other", sadi.sign_flipped),
        Control("swapped-prompt", "other", sadi.swapped, per_prompts=True),
        Control("control-token", "other", sadi.control_token),
        Method("random", "random", sadi.random),
    )
}
"""Every method that ``compare`` knows by name, in the order of its table."""

__all__ = ["BUDGET", "METHODS", "Control", "Material", "Method", "UnavailableError", "grid"]
