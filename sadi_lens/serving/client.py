"""vLLM as an engine of this library: the same calls, the same results, tables in the place of interventions."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.prompts import Prompt, prompt_ids, several_prompts
from sadi_lens.engine.text import cut_item, require_context
from sadi_lens.measure.calls import are_texts, require_told_apart, split_of
from sadi_lens.measure.identity import form_of
from sadi_lens.measure.outcomes import Origin, choice_outcomes, text_outcome
from sadi_lens.measure.picks import Answers
from sadi_lens.serving.checkpoint import checkpoint_folder, checkpoint_info
from sadi_lens.serving.plugin import environment, surrounding
from sadi_lens.serving.requests import (
    SCORED,
    asking,
    scores_of,
    settings_of,
    stop_tokens,
    texts_to_score,
)
from sadi_lens.serving.server import EXTENSION, NOT_INSTALLED
from sadi_lens.serving.tables import export_tables, read_tables
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, NotFiniteError, require_one_of
from sadi_lens.types.checks import checked
from sadi_lens.types.data import Sample, items_hash
from sadi_lens.types.results import Evaluation

SCORINGS = ("sum", "per_token", "generation")
SET = (
    *("model", "dtype", "enforce_eager", "generation_config", "worker_extension_cls"),
    "logprobs_mode",
)
"""Settings of ``vllm.LLM`` that the engine sets itself."""


class VLLMEngine:
    """A checkpoint in vLLM whose requests may each be steered by another table, or by none.

    Args:
        path: A local folder or a Hub name, as vLLM takes it.
        tables: Folder or folders of ``export_tables``, or interventions by name.
        dtype: Of the model; steering is exact against ``sl.generate`` in float32.
        **settings: Of ``vllm.LLM``: ``tensor_parallel_size``, ``max_model_len``, ...

    Raises:
        ImportError: Without vLLM in this environment.
        ValueError: If the tables are for another model or dtype, or the architecture was not tried.
        RuntimeError: If vLLM's version or a setting was not tried, or the plugin was not loaded.
    """

    def __init__(
        self,
        path: str | Path,
        tables: str | Path | Sequence[str | Path] | Mapping[str, Intervention],
        *,
        dtype: str = "float32",
        **settings: Any,
    ) -> None:
        try:
            from vllm import LLM  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            if error.name != "vllm":
                raise
            raise ImportError(NOT_INSTALLED) from error
        self._scratch = tempfile.TemporaryDirectory(prefix="sadi_lens-tables-")
        taken = sorted(set(settings) & {*SET})
        if taken:
            raise ValueError(
                f"{taken[0]} is set by VLLMEngine itself, got {settings[taken[0]]!r}; leave it out"
            )
        folder = checkpoint_folder(str(path), settings.get("revision"))
        self.info = checkpoint_info(folder)
        self._added = 0
        if isinstance(tables, Mapping):
            folders = [self._export(tables)]
        else:
            folders = [tables] if isinstance(tables, str | Path) else list(tables)
        read_tables(folders, model=self.info, dtype=dtype)
        fixed: dict[str, Any] = {
            "enforce_eager": True,
            "generation_config": "vllm",
            "worker_extension_cls": EXTENSION,
            "logprobs_mode": "raw_logprobs",  # evaluate sums them
        }
        with surrounding(environment([Path(one) for one in folders])):
            self.llm: Any = LLM(model=str(path), dtype=dtype, **fixed, **settings)
        self._door: Any = self.llm.llm_engine.input_processor
        if not hasattr(self._door, "sadi_lens_tables"):
            raise RuntimeError(
                "vLLM did not load the plugin 'sadi_lens': install sadi_lens in its environment (not only on "
                "PYTHONPATH), and name it in VLLM_PLUGINS if that is set"
            )
        self.tokenizer: Any = self.llm.get_tokenizer()
        self._stops = stop_tokens(folder)
        sizes = self.llm.llm_engine.model_config
        cfg = SimpleNamespace(n_ctx=sizes.max_model_len, d_vocab=sizes.get_vocab_size())
        self._reader: Any = SimpleNamespace(tokenizer=self.tokenizer, cfg=cfg)

    @property
    def names(self) -> tuple[str, ...]:
        """Tables that a call may name."""
        return tuple(sorted(self._door.sadi_lens_tables))

    @checked()
    def add(self, interventions: Mapping[str, Intervention]) -> None:
        """More tables, by name.

        Raises:
            ValueError: As ``export_tables``, or if a name is taken.
        """
        for name in interventions:
            if name in self._door.sadi_lens_tables:
                raise ValueError(f"there is a table {name!r} already; use another name")
        folder = self._export(interventions)
        self.llm.collective_rpc("sadi_lens_read", args=(str(folder),))
        self._door.sadi_lens_tables.update(read_tables(folder))

    def _export(self, interventions: Mapping[str, Intervention]) -> Path:
        self._added += 1
        folder = Path(self._scratch.name) / str(self._added)
        return export_tables(interventions, folder, model=self.info)

    @checked()
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        table: str | Sequence[str | None] | None = None,
        *,
        position: str = DEFAULT_POSITION,
        max_new_tokens: int = 40,
        prepend_bos: bool | None = None,
        skip_special_tokens: bool = True,
        **sampling: Any,
    ) -> list[str]:
        """Continue prompts; greedy unless asked otherwise. In float32 the same tokens as ``sl.generate``.

        Args:
            prompts: One or several: text, token ids or the messages of a chat.
            table: Name, one for all or one a prompt; ``"NAME@POSITION"`` has its own position, None is unsteered.
            position: Which tokens it acts on.
            max_new_tokens: At most this many tokens a prompt.
            prepend_bos: See ``sadi_lens.engine.text.encode``.
            skip_special_tokens: Passed to the tokenizer's decode.
            **sampling: Of ``vllm.SamplingParams``: ``temperature``, ``top_p``, ``seed``, ``stop`` (stays at the end of
                the text), ``stop_token_ids`` (beside the checkpoint's own, unless ``ignore_eos``), ...

        Returns:
            The continuation of each prompt, without the prompt.

        Raises:
            ValueError: If a name or the position is unknown, names are not one a prompt, or a prompt has no token or
                does not fit the context with ``max_new_tokens``.
            NotFiniteError: If a strength takes the model out of the range of numbers.
        """
        several = several_prompts(prompts)
        named = [table] * len(several) if isinstance(table, str) or table is None else list(table)
        if len(named) != len(several):
            raise ValueError(f"table must be one a prompt: {len(named)} for {len(several)} prompts")
        rows = [
            prompt_ids(self._reader, one, prepend_bos=prepend_bos, room=max_new_tokens)
            for one in several
        ]
        settings = settings_of(sampling, self._stops, max_new_tokens)
        if not rows:
            return []
        found = self._run(rows, [self._asked(one, position) for one in named], settings)
        tokens = [list(one.outputs[0].token_ids) for one in found]
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=skip_special_tokens)

    @checked()
    def evaluate(
        self,
        samples: Sequence[Sample],
        table: str | Sequence[str | None] | None = None,
        *,
        position: str = DEFAULT_POSITION,
        scoring: str = "sum",
        task: str = "",
        label: str | Sequence[str] | None = None,
        prepend_bos: bool | None = None,
        max_new_tokens: int = 16,
    ) -> Evaluation | list[Evaluation]:
        """``sl.evaluate`` by vLLM's prompt log-probabilities: accuracy, interval, margin, valid-answer rate.

        Args:
            samples: At least one, all with choices or all with a target (then text is generated and matched).
            table: Name; None is unsteered. A list gives a list of results, all from one batch of requests.
            position: Which tokens it acts on; that of the result.
            scoring: One of ``SCORINGS``; free text is always generated.
            task: Name written into the result.
            label: Name of the row, or a list of them; default that of the intervention.
            prepend_bos: See ``sadi_lens.engine.text.encode``.
            max_new_tokens: Room for a free-text answer.

        Raises:
            ValueError: If there is no sample or no table, kinds are mixed, a name, position or scoring is unknown, a
                table names another position than ``position``, or a text does not fit the context.
            NotFiniteError: If a strength takes the model out of the range of numbers.
        """
        require_one_of("scoring", scoring, SCORINGS)
        is_text = are_texts(samples)
        require_told_apart(samples, scoring)
        is_one = table is None or isinstance(table, str)
        named = [table] if table is None or isinstance(table, str) else list(table)
        asked = [self._asked(one, position) for one in named]
        labels = [label] if isinstance(label, str) else label or [*map(self._label, named)]
        if not named or len(labels) != len(named):
            raise ValueError(f"label must name every table: {len(labels)} for {len(named)}")
        for one in asked:
            if one is not None and (own := one.partition("@")[2]) != position:
                raise ValueError(
                    f"evaluate has one position for all tables, {position!r}, got {one!r}; pass position={own!r}"
                )
        form = form_of(self._reader, (one.prompt for one in samples), prepend_bos)
        origin = Origin(self.info, task, split_of(samples), position, scoring, form=form)
        answers = Answers.of(samples)
        if scoring == "generation" or is_text:
            texts = self.generate(
                [sample.prompt for sample in samples] * len(asked),
                [one for one in asked for _ in samples],
                position=position,
                max_new_tokens=max_new_tokens,
                prepend_bos=prepend_bos,
            )
            n = len(samples)
            about = (origin, items_hash(samples), answers, np.zeros(n, dtype=bool))
            found = [
                text_outcome(row, samples, texts[start * n :][:n], *about)
                for start, row in enumerate(labels)
            ]
            return found[0] if is_one else found
        cut = partial(cut_item, self.tokenizer, prepend_bos=prepend_bos)
        items = [cut(one.prompt, one.choices) for one in samples]
        for one, item in zip(samples, items, strict=True):
            longest = max(len(item.prompt) + len(answer) for answer in item.answers)
            require_context(self._reader, longest, one.prompt, 1)  # vLLM generates a token, too
        texts = list(texts_to_score(items, len(asked)))
        found = self._run(
            [[*prompt, *answer] for *_, prompt, answer in texts],
            [asked[way] for way, *_ in texts],
            SCORED,
            lengths=[len(prompt) for *_, prompt, _ in texts],
        )
        scores = scores_of(items, texts, found)
        if scoring == "per_token":
            scores.divide([[len(answer) for answer in item.answers] for item in items])
        found = list(choice_outcomes(samples, labels, origin, scores, answers, is_grid=False))
        return found[0] if is_one else found

    def _label(self, table: str | None) -> str:
        if table is None:
            return "unsteered"
        return str(self._door.sadi_lens_tables[table.partition("@")[0]].label)

    def _asked(self, table: str | None, position: str) -> str | None:
        if table is None:
            return None
        name, at, own = table.partition("@")
        require_one_of("table", name, self.names)
        require_one_of("position", own if at else position, POSITIONS)
        return f"{name}@{own if at else position}"

    def _run(
        self,
        rows: Sequence[Sequence[int]],
        asked: Sequence[str | None],
        settings: Mapping[str, Any],
        *,
        lengths: Sequence[int] | None = None,
    ) -> list[Any]:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        ends = [len(row) for row in rows] if lengths is None else lengths
        params = [
            SamplingParams(**settings, extra_args=asking(one, end))
            for one, end in zip(asked, ends, strict=True)
        ]
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        found = self.llm.generate(prompts, params, use_tqdm=False)
        for row, (one, name) in enumerate(zip(found, asked, strict=True)):
            if one.outputs[0].finish_reason == "error":
                raise NotFiniteError("an edited activation or a logit", str(name), f"text {row}")
        return found
