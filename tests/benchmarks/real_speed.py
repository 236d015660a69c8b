"""What a real model costs: loading, and the effect ranking against the differences of the same pairs.

    python tests/benchmarks/real_speed.py [--model smollm2] [--pairs 40] [--repeats 3]

CPU seconds of one thread; the ratio is the median over repeats that alternate the two sides. Peak memory (resident
size) is measured in a process of its own, and compared with the bytes of the weights.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any


def loaded(name: str) -> tuple[Any, float]:
    """The model, and CPU seconds that loading it took once torch is there."""
    import torch

    import sadi_lens as sl

    torch.set_num_threads(1)
    sl.load_model("tiny")  # imports
    start = time.process_time()
    return sl.load_model(name), time.process_time() - start


def peak(name: str, n: int) -> None:
    """Print the peak of a process that ranks by effect and does nothing else."""
    import sadi_lens as sl

    model, _ = loaded(name)
    weights = sum(one.numel() * one.element_size() for one in model.original_model.parameters())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sl.unit_scores(model, sl.load_task("suggest").pairs[:n], "head", "effect", progress=False)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"weights": weights, "loaded": before, "peak": after}))  # noqa: T201


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", action="store_true", help="only the memory, in this process")
    arguments = parser.parse_args()
    if arguments.peak:
        peak(arguments.model, arguments.pairs)
        return
    import sadi_lens as sl

    model, seconds = loaded(arguments.model)
    pairs = sl.load_task("suggest").pairs[: arguments.pairs]
    rounds: list[tuple[float, float]] = []
    for _ in range(arguments.repeats):
        start = time.process_time()
        sl.activation_differences(model, pairs, components=["head"], progress=False)
        middle = time.process_time()
        sl.unit_scores(model, pairs, "head", "effect", progress=False)
        rounds.append((middle - start, time.process_time() - middle))
    command = [sys.executable, __file__, "--peak", "--model", arguments.model]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    memory = json.loads(done.stdout.splitlines()[-1])
    found = {
        "model": arguments.model,
        "load_s": seconds,
        "pairs": len(pairs),
        "differences_s": statistics.median(one for one, _ in rounds),
        "effect_s": statistics.median(two for _, two in rounds),
        "effect_of_differences": statistics.median(two / one for one, two in rounds),
        "peak_of_weights": memory["peak"] / memory["weights"],
        **memory,
    }
    print(json.dumps(found, indent=1))  # noqa: T201  # this is a script


if __name__ == "__main__":
    main()
