"""Steering within one worker of vLLM: tables on its device, hooks at their sites, the rows of the current step.

All requests of a step lie packed in one [token width] tensor. Heads and neurons are scaled where they enter ``o_proj``
and ``down_proj`` (each worker holds a contiguous part under tensor parallelism); a block's output is the sum of two
tensors, both of which a scale multiplies.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sadi_lens.serving.asked import Asked
from sadi_lens.serving.checkpoint import checkpoint_folder, checkpoint_info
from sadi_lens.serving.overflow import is_over
from sadi_lens.serving.tables import SteeringTable, read_tables

Key = tuple[str, int]
"""(component, layer)."""
Rows = slice | Tensor
Owner = tuple[str, int]
"""(request, place in its text)."""

SITES = {"head": "self_attn.o_proj", "neuron": "mlp.down_proj", "mlp_out": "mlp", "hidden": ""}
"""Module within a block, in the architectures of ``checkpoint.ARCHITECTURES``."""


LOAD_FORMATS = ("auto", "safetensors")
"""Ways to load that read the files which ``checkpoint_info`` compares."""


class Steering:
    """The tables of a worker.

    Args:
        runner: vLLM's model runner, its model loaded.

    Raises:
        RuntimeError: If the engine runs in a way that was not tried.
        ValueError: If the model's architecture was not tried.
    """

    def __init__(self, runner: Any) -> None:
        from vllm.distributed import (  # pyright: ignore[reportMissingImports]
            get_tensor_model_parallel_rank,
            get_tensor_model_parallel_world_size,
        )

        require_plain(runner.vllm_config)
        config = runner.vllm_config.model_config
        self.info = checkpoint_info(checkpoint_folder(config.model, config.revision))
        self.dtype: torch.dtype = config.dtype
        self.device: torch.device = runner.device
        self.blocks: Any = runner.model.model.layers
        self.rank: int = get_tensor_model_parallel_rank()
        self.world: int = get_tensor_model_parallel_world_size()
        self.tables: dict[str, SteeringTable] = {}
        self.parts: dict[tuple[str, Key], tuple[Tensor | None, Tensor | None]] = {}
        self.sites: set[Key] = set()
        self.rows: dict[str, Rows] = {}
        self.due: set[Key] = set()
        """Sites that edit in this step and were not reached yet."""
        self.owners: list[tuple[int, int, Owner]] = []
        """(start, stop, whose) of the edited tokens of this step."""
        self.over: Tensor | None = None
        """For each token up to the last edited one, whether an edit left the range of numbers."""
        self.overflowed: dict[str, int] = {}
        """Requests of the last step of which one did -> its place in the text."""
        self.steered: set[str] = set()
        """Requests of which tokens were edited in the last step."""
        self.edited = 0
        """Spans of tokens edited so far."""

    def read(self, folders: Sequence[str | Path]) -> list[str]:
        """Add the tables of folders, and say which there are now."""
        name = str(self.dtype).removeprefix("torch.")
        for key, table in read_tables(folders, model=self.info, dtype=name).items():
            self.add(key, table)
        return sorted(self.tables)

    def add(self, name: str, table: SteeringTable) -> None:
        """One more table."""
        self.tables[name] = table
        for row, layer in enumerate(table.layers):
            key = (table.component, layer)
            self.parts[name, key] = (
                self._local(table, table.scale, row),
                self._local(table, table.shift, row),
            )
            if key not in self.sites:
                self.sites.add(key)
                self._attach(key)

    def _local(self, table: SteeringTable, values: Any, row: int) -> Tensor | None:
        if values is None:
            return None
        found = torch.tensor(values[row])
        if table.component in ("head", "neuron"):
            found = found.chunk(self.world)[self.rank]
        return found.to(self.device, self.dtype)

    def _attach(self, key: Key) -> None:
        component, layer = key
        module = self.blocks[layer].get_submodule(SITES[component])

        def before(_module: Any, args: tuple[Any, ...]) -> None:
            if self.rows:
                self._edit(key, args[0])

        def after(_module: Any, _args: Any, output: Any) -> None:
            if self.rows:
                whole, *rest = output if isinstance(output, tuple) else (output,)
                self._edit(key, whole, rest)

        if component in ("head", "neuron"):
            module.register_forward_pre_hook(before)
        else:
            module.register_forward_hook(after)

    def _edit(self, key: Key, activation: Tensor, other_terms: Sequence[Tensor] = ()) -> None:
        """Edit the rows of this step, in place: the tensor is vLLM's own and nobody reads it before."""
        for name, where in self.rows.items():
            scale, shift = self.parts.get((name, key), (None, None))
            if scale is not None:
                for term in (activation, *other_terms):
                    term[where] *= scale
            if shift is not None:
                activation[where] += shift
            if self.over is not None and (scale is not None or shift is not None):
                whole = activation[where]
                for term in other_terms:
                    whole = whole + term[where]
                self.over[where] |= is_over(whole)
        self.due.discard(key)

    def begin(self, spans: Sequence[tuple[Asked, int, int, Owner]]) -> None:
        """The edited tokens of the step that comes, as (what, start, stop, whose) among its packed tokens.

        Raises:
            RuntimeError: If this worker lacks the table that the door admitted.
        """
        found: dict[str, list[tuple[int, int]]] = {}
        self.owners = [(start, stop, owner) for _, start, stop, owner in spans]
        self.steered, self.overflowed = {owner[0] for *_, owner in self.owners}, {}
        last = max((stop for _, stop, _ in self.owners), default=0)
        self.over = torch.zeros(last, dtype=torch.bool, device=self.device) if last else None
        for asked, start, stop, _ in spans:
            table = self.tables.get(asked.name)
            if table is None or table.digest != asked.digest:
                raise RuntimeError(
                    f"this worker has no table {asked.name!r} with hash {asked.digest}; all processes of an engine "
                    "must see the same tables"
                )
            parts = found.setdefault(asked.name, [])
            if parts and parts[-1][1] == start:
                start = parts.pop()[0]
            parts.append((start, stop))
        self.rows = {name: self._rows(parts) for name, parts in found.items()}
        self.due = {
            (self.tables[name].component, layer)
            for name in found
            for layer in self.tables[name].layers
        }
        self.edited += len(spans)

    def _rows(self, parts: list[tuple[int, int]]) -> Rows:
        if len(parts) == 1:
            return slice(*parts[0])
        return torch.cat([torch.arange(*one) for one in parts]).to(self.device)

    def abandon(self) -> None:
        """Nothing is edited until the next step is prepared."""
        self.rows, self.due, self.over = {}, set(), None

    def end(self) -> None:
        """The step is over.

        Raises:
            RuntimeError: If a site that had to edit was never reached: what was computed is not steered.
        """
        due, over = sorted(self.due), self.over
        self.abandon()
        if due:
            raise RuntimeError(
                f"vLLM ran past the steering of {due}; what it computed is unsteered"
            )
        if over is not None:
            rows = self._of_all_workers(over).tolist()
            self.overflowed = {
                name: place + rows[start:stop].index(True)
                for start, stop, (name, place) in self.owners
                if any(rows[start:stop])
            }

    def _of_all_workers(self, over: Tensor) -> Tensor:
        """Under tensor parallelism each worker sees its own heads and neurons."""
        if self.world == 1:
            return over
        from vllm.distributed import (  # pyright: ignore[reportMissingImports]
            tensor_model_parallel_all_reduce,
        )

        return tensor_model_parallel_all_reduce(over.float()) > 0


def require_plain(config: Any) -> None:
    """Refuse ways to run in which the hooks were not tried, or would be compiled away.

    Raises:
        RuntimeError: With the setting and what to do.
    """
    parallel, model = config.parallel_config, config.model_config
    bad: dict[str, tuple[bool, str]] = {
        "compiled graphs": (not model.enforce_eager, "pass --enforce-eager"),
        "the V2 model runner": (config.use_v2_model_runner, "set VLLM_USE_V2_MODEL_RUNNER=0"),
        "pipeline parallelism": (parallel.pipeline_parallel_size > 1, "use tensor parallelism"),
        "context parallelism": (
            getattr(parallel, "decode_context_parallel_size", 1) > 1
            or getattr(parallel, "prefill_context_parallel_size", 1) > 1,
            "use tensor parallelism",
        ),
        "micro-batches": (bool(getattr(parallel, "enable_dbo", False)), "leave --enable-dbo out"),
        "speculative decoding": (config.speculative_config is not None, "leave it out"),
        "LoRA": (config.lora_config is not None, "merge the adapter into the checkpoint"),
        "quantised weights": (config.quant_config is not None, "use a floating-point checkpoint"),
        "an external KV cache": (config.kv_transfer_config is not None, "leave it out"),
        "a configuration other than the checkpoint's": (
            bool(model.hf_overrides or model.hf_config_path),
            "leave --hf-overrides and --hf-config-path out",
        ),
        "pooling (embeddings, scores), whose requests have no steering": (
            model.runner_type != "generate",
            "leave --runner and --convert out",
        ),
        "sleep mode, which can drop the tables with the weights": (
            model.enable_sleep_mode,
            "leave --enable-sleep-mode out",
        ),
        "weights that are sent while serving": (
            config.weight_transfer_config is not None,
            "leave --weight-transfer-config out",
        ),
        "weights other than the checkpoint's": (
            str(config.load_config.load_format) not in LOAD_FORMATS,
            "leave --load-format out",
        ),
        "another implementation of the model": (
            str(model.model_impl) not in ("auto", "vllm") or bool(model.model_class_overrides),
            "leave --model-impl and --model-class-overrides out",
        ),
        "a KV cache of another dtype": (
            config.cache_config.cache_dtype != "auto",
            "leave --kv-cache-dtype out",
        ),
    }
    for name, (is_on, remedy) in bad.items():
        if is_on:
            raise RuntimeError(
                f"steering was not tried with {name}: {remedy}, or unset SADI_LENS_TABLES"
            )
