"""vLLM as an engine of this library: the same calls, the same results, tables in the place of interventions."""

import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.passes import valid_answers
from sadi_lens.engine.text import EncodedItem, cut_item, encode
from sadi_lens.measure.calls import are_texts, require_told_apart, split_of
from sadi_lens.measure.outcomes import ChoiceScores, Origin, choice_outcomes, text_outcome
from sadi_lens.measure.picks import Answers
from sadi_lens.serving.asked import LENGTH_KEY, NAME_KEY
from sadi_lens.serving.checkpoint import checkpoint_folder, checkpoint_info
from sadi_lens.serving.plugin import environment
from sadi_lens.serving.server import EXTENSION, NOT_INSTALLED
from sadi_lens.serving.tables import export_tables, read_tables
from sadi_lens.types.base import DEFAULT_POSITION, POSITIONS, require_one_of
from sadi_lens.types.data import Sample, items_hash
from sadi_lens.types.results import Evaluation

SCORINGS = ("sum", "per_token", "generation")


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
        self.info = checkpoint_info(checkpoint_folder(str(path), settings.get("revision")))
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
        }
        with _environment(environment([Path(one) for one in folders])):
            self.llm: Any = LLM(model=str(path), dtype=dtype, **fixed, **settings)
        self._door: Any = self.llm.llm_engine.input_processor
        if not hasattr(self._door, "sadi_lens_tables"):
            raise RuntimeError(
                "vLLM did not load the plugin 'sadi_lens': install sadi_lens in its environment (not only on "
                "PYTHONPATH), and name it in VLLM_PLUGINS if that is set"
            )
        self.tokenizer: Any = self.llm.get_tokenizer()
        self._stops = self._stop_tokens(str(path))

    @property
    def names(self) -> tuple[str, ...]:
        """Tables that a call may name."""
        return tuple(sorted(self._door.sadi_lens_tables))

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

    def generate(
        self,
        prompts: str | Sequence[str],
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
            prompts: One or several.
            table: Name, one for all or one a prompt; ``"NAME@POSITION"`` has its own position, None is unsteered.
            position: Which tokens it acts on.
            max_new_tokens: At most this many tokens a prompt.
            prepend_bos: See ``sadi_lens.engine.text.encode``.
            skip_special_tokens: Passed to the tokenizer's decode.
            **sampling: Of ``vllm.SamplingParams``: ``temperature``, ``top_p``, ``seed``, ...

        Returns:
            The continuation of each prompt, without the prompt.

        Raises:
            ValueError: If a name or the position is unknown, names are not one a prompt, or a text does not fit.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        require_one_of("position", position, POSITIONS)
        named = [table] * len(prompts) if isinstance(table, str) or table is None else list(table)
        if len(named) != len(prompts):
            raise ValueError(f"table must be one a prompt: {len(named)} for {len(prompts)} prompts")
        rows = [encode(self.tokenizer, one, prepend_bos=prepend_bos) for one in prompts]
        settings = {
            "temperature": 0.0,
            "max_tokens": max_new_tokens,
            "ignore_eos": True,  # only what the checkpoint's generation config names ends a text
            "stop_token_ids": self._stops,
            **sampling,
        }
        found = self._run(rows, [self._asked(one, position) for one in named], settings)
        tokens = [list(one.outputs[0].token_ids) for one in found]
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=skip_special_tokens)

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
            position: Which tokens it acts on.
            scoring: One of ``SCORINGS``; free text is always generated.
            task: Name written into the result.
            label: Name of the row, or a list of them; default that of the intervention.
            prepend_bos: See ``sadi_lens.engine.text.encode``.
            max_new_tokens: Room for a free-text answer.

        Raises:
            ValueError: If there is no sample or no table, kinds are mixed, or a name, position or scoring is unknown.
        """
        require_one_of("scoring", scoring, SCORINGS)
        require_one_of("position", position, POSITIONS)
        is_text = are_texts(samples)
        require_told_apart(samples, scoring)
        is_one = table is None or isinstance(table, str)
        named = [table] if table is None or isinstance(table, str) else list(table)
        labels = [label] if isinstance(label, str) else label or [*map(self._label, named)]
        if not named or len(labels) != len(named):
            raise ValueError(f"label must name every table: {len(labels)} for {len(named)}")
        origin = Origin(self.info, task, split_of(samples), position, scoring)
        asked = [self._asked(one, position) for one in named]
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
        scores = self._scores(items, asked)
        if scoring == "per_token":
            scores.divide([[len(answer) for answer in item.answers] for item in items])
        found = list(choice_outcomes(samples, labels, origin, scores, answers, is_grid=False))
        return found[0] if is_one else found

    def _label(self, table: str | None) -> str:
        if table is None:
            return "unsteered"
        require_one_of("table", table, self.names)  # position is one for all rows
        return str(self._door.sadi_lens_tables[table].label)

    def _scores(self, items: Sequence[EncodedItem], asked: Sequence[str | None]) -> ChoiceScores:
        """Log-probability of every answer, each text a request of its own; what they share comes from the cache."""
        texts = [
            (way, row, column, item.prompt, answer)
            for row, item in enumerate(items)
            for way in range(len(asked))
            for column, answer in enumerate(item.answers)
        ]
        settings = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 1}
        found = self._run(
            [[*prompt, *answer] for *_, prompt, answer in texts],
            [asked[way] for way, *_ in texts],
            settings,
            lengths=[len(prompt) for *_, prompt, _ in texts],
        )
        shape = (len(asked), len(items), max(len(item.answers) for item in items))
        scores = np.full(shape, np.nan, dtype=np.float32)
        argmax = np.full((*shape, max(len(answer) for *_, answer in texts)), -1)
        for (way, row, column, prompt, answer), one in zip(texts, found, strict=True):
            rows = one.prompt_logprobs[len(prompt) :]
            scores[way, row, column] = sum(
                each[token].logprob for each, token in zip(rows, answer, strict=True)
            )
            argmax[way, row, column, : len(answer)] = [
                next(token for token, each in own.items() if each.rank == 1) for own in rows
            ]
        valid = valid_answers(items, argmax)
        return ChoiceScores(scores, valid, None, np.ones(len(items), dtype=bool))

    def _asked(self, table: str | None, position: str) -> str | None:
        if table is None:
            return None
        name, at, own = table.partition("@")
        require_one_of("table", name, self.names)
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
            SamplingParams(
                **settings, extra_args=None if one is None else {NAME_KEY: one, LENGTH_KEY: end}
            )
            for one, end in zip(asked, ends, strict=True)
        ]
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        return self.llm.generate(prompts, params, use_tqdm=False)

    def _stop_tokens(self, path: str) -> list[int]:
        from transformers import AutoConfig, GenerationConfig

        try:
            own: Any = GenerationConfig.from_pretrained(path)
        except OSError:
            own = AutoConfig.from_pretrained(path)
        found = own.eos_token_id
        return [] if found is None else [found] if isinstance(found, int) else list(found)


@contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    """Environment variables for the duration: the processes that vLLM starts inherit them."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)
