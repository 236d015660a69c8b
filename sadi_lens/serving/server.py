"""An OpenAI-compatible server whose requests may each be steered: vLLM's own, with the plugin on."""

import argparse
import importlib.util
import os
import socket
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from sadi_lens.serving.checkpoint import checkpoint_folder, checkpoint_info
from sadi_lens.serving.plugin import environment
from sadi_lens.serving.tables import read_tables
from sadi_lens.types.checks import checked

EXTENSION = "sadi_lens.serving.extension.SteeredWorker"
MIDDLEWARE = "sadi_lens.serving.http.Door"

NOT_INSTALLED = (
    "vLLM is not installed in this environment; it needs one of its own: see docs/serving.md"
)


class Launch(NamedTuple):
    """What starts the server."""

    command: list[str]
    environment: dict[str, str]
    client: str
    """One line of Python that asks it, unsteered and steered."""


@checked()
def launch(
    model: str,
    tables: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    dtype: str = "float32",
    extra: Sequence[str] = (),
) -> Launch:
    """Check model and tables, and say how the server is started.

    Args:
        model: A local folder or a Hub name that was downloaded.
        tables: Folders of ``export_tables``.
        host: Address to listen on.
        port: Port to listen on.
        dtype: Of the model.
        extra: More arguments of vLLM's server.

    Raises:
        ValueError: If the tables cannot be used with this model, or there is no such port.
        OSError: If the address or port cannot be listened on: another server has it.
        RuntimeError: If vLLM is not installed here, or its plugins are switched off.
    """
    folder = checkpoint_folder(model, _revision_in(extra))
    info = checkpoint_info(folder)
    # Also "." has one; a link keeps its own, as clients know it.
    name = Path(os.path.abspath(model)).name if Path(model).is_dir() else model  # noqa: PTH100
    names = sorted(read_tables(list(tables), model=info, dtype=dtype))
    if importlib.util.find_spec("vllm") is None:
        raise RuntimeError(NOT_INSTALLED)
    plugins = os.environ.get("VLLM_PLUGINS")
    if plugins is not None and "sadi_lens" not in plugins.split(","):
        raise RuntimeError(
            f"VLLM_PLUGINS={plugins} leaves sadi_lens out; requests would run unsteered"
        )
    if not _is_registered():
        raise RuntimeError(
            "vLLM would not find the plugin 'sadi_lens' here, and requests would run unsteered: install sadi_lens in "
            "this environment (pip install .), not only on PYTHONPATH"
        )
    _require_free(host, port)
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", model, "--served-model-name", name, "--dtype", dtype),
        *("--host", host, "--port", str(port), "--enforce-eager", "--generation-config", "vllm"),
        *("--worker-extension-cls", EXTENSION, "--middleware", MIDDLEWARE),
        *extra,
    ]
    client = (
        f"from openai import OpenAI; c = OpenAI(base_url='http://{host}:{port}/v1', api_key='-'); "
        f"print(*(c.completions.create(model={name!r}, prompt='Hello', max_tokens=20, temperature=0, "
        f"extra_body=b).choices[0].text for b in ({{}}, {{'vllm_xargs': {{'sadi': '{names[0]}@every_step'}}}})), "
        "sep='\\n')"
    )
    return Launch(command, {**os.environ, **environment(tables)}, client)


def _revision_in(extra: Sequence[str]) -> str | None:
    """The revision of the model that arguments of vLLM's server ask for."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--revision")
    return parser.parse_known_args(list(extra))[0].revision


def _require_free(host: str, port: int) -> None:
    """Refuse an address that vLLM would find taken only after it has begun to load."""
    if not 1 <= port <= 65535:
        raise ValueError(f"port must be in [1, 65535], got {port}")
    try:
        family, kind, *_, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host}:{port} ({error.strerror}); give another port, or end what listens there"
        ) from error


def _is_registered() -> bool:
    """Whether the installed package names the plugin to vLLM."""
    found = entry_points(group="vllm.general_plugins", name="sadi_lens")
    return any(one.value == "sadi_lens.serving.plugin:register" for one in found)
