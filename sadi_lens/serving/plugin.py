"""Entry point ``vllm.general_plugins``: called by vLLM in each of its processes before anything is built."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TABLES = "SADI_LENS_TABLES"
"""Environment variable: folders of tables, separated as in PATH. Without it the plugin does nothing."""


def register() -> None:
    """Make this process of vLLM steer, if tables are named.

    Raises:
        RuntimeError: On a version of vLLM that was not tried.
        ValueError: If the tables cannot be read.
    """
    if os.environ.get(TABLES):
        from sadi_lens.serving.patches import install

        install(table_folders)


def table_folders() -> list[str]:
    """The folders that the environment names."""
    return [one for one in os.environ.get(TABLES, "").split(os.pathsep) if one]


def environment(folders: Sequence[Path]) -> dict[str, str]:
    """What vLLM's processes must find in their environment to steer by these tables.

    Raises:
        ValueError: If a folder's name cannot stand in a list of folders.
    """
    for one in folders:
        if os.pathsep in str(one.resolve()):
            raise ValueError(
                f"the folder {str(one.resolve())!r} has {os.pathsep!r} in its name, which separates folders in "
                f"{TABLES}; move the tables"
            )
    named = os.pathsep.join(str(one.resolve()) for one in folders)
    return {TABLES: named, "VLLM_USE_V2_MODEL_RUNNER": "0"}


@contextmanager
def surrounding(values: Mapping[str, str]) -> Generator[None]:
    """Environment variables for the duration: the processes that vLLM starts inherit them."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)
