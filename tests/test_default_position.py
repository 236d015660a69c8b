"""One default position: the same intervention edits the same token whichever function it is given to."""

import importlib
import inspect
import pkgutil

ONLY_ALL = {"export_folded", "export_lm_eval_steered"}
"""Weights, and lm-evaluation-harness' own ``steered``, act on every token."""
OTHER_ENVIRONMENT = {"lm_eval", "vllm"}
"""What modules may lack here; ``make test-vllm`` has it."""


def public_callables():
    """(name, callable) of every public function, class and method of the package."""
    import sadi_lens as sl

    for info in pkgutil.walk_packages(sl.__path__, "sadi_lens."):
        if info.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if error.name not in OTHER_ENVIRONMENT:
                raise
            continue
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != info.name:
                continue
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            yield f"{info.name}.{name}", thing
            if inspect.isclass(thing):
                for method, one in vars(thing).items():
                    if inspect.isfunction(one) and not method.startswith("_"):
                        yield f"{info.name}.{name}.{method}", one


def test_every_public_callable_has_the_same_default_position():
    from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS

    defaults = {}
    for name, thing in public_callables():
        try:
            parameters = inspect.signature(thing).parameters
        except ValueError:  # an exception class without a signature of its own
            continue
        found = parameters.get("position")
        if found is not None and found.default in POSITIONS:  # "" is: that of the whole run
            defaults[name] = found.default
    assert len(defaults) > 20
    others = {name: value for name, value in defaults.items() if value != DEFAULT_POSITION}
    assert {name.rsplit(".", 1)[1] for name in others} == ONLY_ALL, others


def test_the_default_is_the_token_that_the_paper_edits(llama):
    """Wang et al., Eq. 5 at the last prompt token: no other token's head output changes."""
    import torch

    import sadi_lens as sl

    tokens = llama.tokenizer("the red ball is", return_tensors="pt")["input_ids"]
    mask = sl.Mask.from_units("head", [(1, 2)], llama)
    (layer, head), hook = mask.units[0], "blocks.{}.attn.hook_z"
    read = []
    for rule in (None, sl.MaskedScaling(mask, 2.0)):
        hooks = [(hook.format(layer), lambda z, hook: read.append(z.clone()))]
        with torch.inference_mode(), sl.steer(llama, rule):
            llama.run_with_hooks(tokens, fwd_hooks=hooks)
    plain, steered = (z[0, :, head] for z in read)
    torch.testing.assert_close(steered[:-1], plain[:-1], rtol=0, atol=0)
    torch.testing.assert_close(steered[-1], 3.0 * plain[-1])
