"""Model ``sadi`` of lm-evaluation-harness: steered in the flow, not folded. Importing this module registers it.

import sadi_lens as sl, lm_eval
sl.interop.SadiLM
lm_eval.simple_evaluate("sadi", model_args={"pretrained": ..., "intervention": ..., "position": ...}, tasks=[...])
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import lm_eval.models  # pyright: ignore[reportMissingImports, reportUnusedImport]  # noqa: F401  # its own models come first
except ModuleNotFoundError as error:
    if error.name != "lm_eval":
        raise
    raise ModuleNotFoundError(
        "the model 'sadi' needs lm-evaluation-harness: pip install 'sadi_lens[lm_eval]'",
        name="lm_eval",
    ) from error
from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]
from lm_eval.models.utils import normalize_gen_kwargs  # pyright: ignore[reportMissingImports]

from sadi_lens.engine.generation import generate
from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.scoring import score_answers
from sadi_lens.engine.text import EncodedItem, encode, require_context, require_tokenizer
from sadi_lens.models import load_model
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, require_one_of
from sadi_lens.types.model import HookedModel, ModelInfo
from sadi_lens.types.store import load

OF_THE_HARNESS = ("batch_size", "device", "max_batch_size")
"""What it hands to every model."""
OF_SAMPLING = (
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
)
"""Settings of a task that change nothing in greedy text."""


@register_model("sadi")  # pyright: ignore[reportUntypedClassDecorator]  # lm_eval is not typed
class SadiLM(TemplateLM):  # pyright: ignore[reportUntypedBaseClass]
    """A steered model as lm-evaluation-harness sees one.

    Args:
        pretrained: What ``load_model`` takes, or a bridged model.
        intervention: Affine or not, the folder of a saved one, or None for the unsteered model.
        position: Which tokens it acts on, in scoring and in generation.
        dtype: As for ``load_model``; default its own choice.
        **harness: What the harness hands to every model (batch size, device); batches are our own.

    Raises:
        ValueError: If an argument or the position is unknown, the folder holds no intervention, it is for another
            model, or ``dtype`` is not that of a bridged model.
    """

    def __init__(
        self,
        pretrained: Any,
        intervention: str | Path | Intervention | None = None,
        position: str = DEFAULT_POSITION,
        dtype: str | None = None,
        **harness: Any,
    ) -> None:
        super().__init__()
        for name in harness:  # a misspelled ``intervention`` would run unsteered
            known = ("pretrained", "intervention", "position", "dtype", *OF_THE_HARNESS)
            require_one_of("argument of the model 'sadi'", name, known)
        require_one_of("position", position, POSITIONS)
        if not isinstance(pretrained, HookedModel):
            pretrained = load_model(pretrained, dtype=dtype, device=harness.get("device"))
        self.model: Any = pretrained
        found = str(self.model.cfg.dtype).removeprefix("torch.")
        if dtype not in (None, "auto", found):
            raise ValueError(f"dtype must be that of the loaded model, {found}, got {dtype!r}")
        self.tokenizer: Any = require_tokenizer(self.model)
        if isinstance(intervention, str | Path):
            intervention = load(intervention, model=self.model)
        if intervention is not None:
            if not isinstance(intervention, Intervention):
                raise ValueError(
                    f"intervention must be an intervention or the folder of one, got {type(intervention).__name__}"
                )
            intervention.check(ModelInfo.of(self.model))
        self.intervention = intervention
        self.position = position

    @property
    def eot_token_id(self) -> int:
        """End of text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without context."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_kwargs: Any
    ) -> list[int]:
        """Tokens by the rules of ``sadi_lens.engine.text``."""
        return encode(
            self.tokenizer, string, prepend_bos=False if add_special_tokens is False else None
        )

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str], list[int], list[int]]],
        **_kwargs: Any,
    ) -> list[tuple[float, bool]]:
        """Requests of one context are one item: its prompt runs once, its last token is the last prompt token."""
        groups: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]] = {}
        for index, ((context, answer), prompt, tokens) in enumerate(requests):
            if not tokens:
                raise ValueError(
                    f"answer {answer!r} adds no token to the context {context[-40:]!r}"
                )
            require_context(self.model, len(prompt) + len(tokens), context + answer)
            groups.setdefault(tuple(prompt), []).append((index, tuple(tokens)))
        items = [
            EncodedItem(prompt, tuple(dict.fromkeys(answer for _, answer in wanted)), 0)
            for prompt, wanted in groups.items()
        ]
        wanted = list(groups.values())
        found: list[tuple[float, bool]] = [(float("nan"), False)] * len(requests)
        for batch in score_answers(self.model, items, [self.intervention], self.position):
            for row, place in enumerate(batch.indices):
                for index, answer in wanted[place]:
                    choice = items[place].answers.index(answer)
                    best = tuple(batch.argmax[0, row, choice, : len(answer)].tolist())
                    found[index] = (float(batch.logprobs[0, row, choice]), best == answer)
        return found

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Refused: a rolling text has no last prompt token."""
        raise NotImplementedError(
            "the model 'sadi' scores answers to prompts: a rolling text has no last prompt token. Fold an intervention "
            "found at position='all' (export_folded) and run the checkpoint with the model 'hf'"
        )

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """Continuations, cut before the first of the request's stop texts.

        Settings as the harness's own models read them: any temperature above 0 samples. A prompt that is asked several
        times is sampled anew each time.
        """
        texts: list[str] = []
        for seed, request in enumerate(requests):
            prompt, asked = request.args
            settings: dict[str, Any] = dict(normalize_gen_kwargs(asked, 256))
            until, length = settings.pop("until"), settings.pop("max_gen_toks")
            if not settings["do_sample"]:
                settings = {k: v for k, v in settings.items() if k not in OF_SAMPLING}
            (text,) = generate(
                self.model,
                prompt,
                self.intervention,
                position=self.position,
                max_new_tokens=length,
                seed=seed,
                **settings,
            )
            for stop in until:
                text = text.partition(stop)[0] if stop else text
            texts.append(text)
        return texts
