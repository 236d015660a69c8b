"""Freeze the numbers of one commit: ``PYTHONPATH=<checkout>:tests python tests/oracle/make.py``.

The frozen file was made at commit 0013b7e, before the package was divided into rooms. Make it again only where a
change of the numbers is meant, and say so in the commit.
"""

import sys
from pathlib import Path
from time import process_time

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
FROZEN = Path(__file__).with_name("frozen.npz")


def main() -> None:
    """Write ``frozen.npz`` beside this file."""
    import sadi_lens
    from oracle.calls import MODELS, numbers

    torch.set_num_threads(1)
    found = {}
    for name in MODELS:
        before = process_time()
        found |= {f"{name}/{key}": value for key, value in numbers(name)}
        print(f"{name}: {process_time() - before:.1f} s of CPU")  # noqa: T201
    np.savez_compressed(FROZEN, **found)
    package = Path(sadi_lens.__file__).parent
    print(f"{len(found)} arrays of {package}, {FROZEN.stat().st_size} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
