"""How many rooms of the house one call walks through: modules, functions and deepest stack of sadi_lens.

    python tests/benchmarks/modules.py

A profile trace of the second of two identical calls (the first loads and checks). Only functions of sadi_lens count;
the stack is that of their frames, with whatever of torch or transformers lies between them left out. ``goal`` is the
number of modules that a call may pass through. ``--list`` names the modules.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import sadi_lens as sl

PACKAGE = Path(sl.__file__).parent
GOALS = {"activation_differences": 8, "evaluate": 14, "sweep": 15}


class Walk(NamedTuple):
    """What one call passed through."""

    modules: frozenset[str]
    functions: frozenset[tuple[str, str]]
    deepest: int


def walk(run: Callable[[], Any]) -> Walk:
    """Trace ``run``."""
    modules: set[str] = set()
    functions: set[tuple[str, str]] = set()
    names: dict[str, str] = {}
    depth = deepest = 0

    def module_of(frame: FrameType) -> str:
        file = frame.f_code.co_filename
        if file not in names:
            path = Path(file)
            names[file] = str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else ""
        return names[file]

    def trace(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal depth, deepest
        if event not in ("call", "return") or not (module := module_of(frame)):
            return
        if event == "return":
            depth -= 1
            return
        modules.add(module)
        functions.add((module, frame.f_code.co_qualname))
        depth += 1
        deepest = max(deepest, depth)

    sys.setprofile(trace)
    try:
        run()
    finally:
        sys.setprofile(None)
    return Walk(frozenset(modules), frozenset(functions), deepest)


def calls() -> dict[str, Callable[[], Any]]:
    """The calls of the main job, as small as they go."""
    model, task = sl.load_model("tiny"), sl.load_task("hints")
    few, pairs = task.dev[:8], task.pairs[:8]
    found = sl.activation_differences(model, pairs, progress=False)["head"]
    steered = sl.MaskedScaling(sl.top_k_mask(found, 4), 5.0)
    small = sl.Task("hints", pairs=pairs, dev=few, test=task.test[:8])
    quiet = {"progress": False}
    return {
        "activation_differences": lambda: sl.activation_differences(model, pairs, **quiet),
        "evaluate": lambda: sl.evaluate(model, few, steered, **quiet),
        "sweep": lambda: sl.sweep(model, few, found, [1, 4], [1.0, 5.0], **quiet),
        "generate": lambda: sl.generate(model, few[0].prompt, steered, max_new_tokens=4),
        "compare, 2 rows": lambda: sl.compare(model, small, [None, steered], n_null=0, **quiet),
    }


def main() -> None:
    """Print the table."""
    lines = ["| call | modules | goal | functions | deepest stack |", "|---|---|---|---|---|"]
    for name, run in calls().items():
        run()
        found = walk(run)
        goal = GOALS.get(name, "")
        lines.append(
            f"| {name} | {len(found.modules)} | {goal} | {len(found.functions)} | {found.deepest} |"
        )
        if "--list" in sys.argv:
            lines.append(f"|   {', '.join(sorted(found.modules))} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
