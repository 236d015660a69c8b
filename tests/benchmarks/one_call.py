"""The test phase of a comparison: all methods in one call against one call a method, in CPU seconds.

    python tests/benchmarks/one_call.py --model smollm2 --task suggest --items 12

Twelve random masks at the last prompt token stand for twelve methods. Prints the ratio; the accuracies must agree.
"""

import argparse
import time

import torch

import sadi_lens as sl

N_METHODS = 12


def main() -> None:
    """Print the two times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--task", default="hints")
    parser.add_argument("--items", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = sl.load_model(arguments.model)
    test = sl.load_task(arguments.task).test[: arguments.items]
    like = sl.Mask.from_units("head", [(0, 0), (1, 0), (2, 0), (3, 0)], model)
    masks = [sl.random_mask(like, seed=seed) for seed in range(N_METHODS)]
    methods = [sl.MaskedScaling(mask, 3.0) for mask in masks]
    sl.evaluate(model, test[:2], methods[:2], progress=False)
    started = time.process_time()
    together = sl.evaluate(model, test, methods, progress=False)
    middle = time.process_time()
    alone = [sl.evaluate(model, test, one, progress=False) for one in methods]
    ended = time.process_time()
    one, each = middle - started, ended - middle
    same = all(a.accuracy == b.accuracy for a, b in zip(together, alone, strict=True))
    print(  # noqa: T201  # this is a script
        f"{arguments.model}, {arguments.task}, {len(test)} items, {N_METHODS} methods: one call {one:.2f} s CPU, one "
        f"call a method {each:.2f} s, {each / one:.1f} times; accuracies {'agree' if same else 'DIFFER'}"
    )


if __name__ == "__main__":
    main()
