"""Lines that no test guards: one small change at a time, and the tests of its room must fail.

``python tests/mutants.py N`` draws N changes with a seed and prints what became of each, and the score
(``make mutants``: 200). First the tests of every room must pass on what is unchanged.
"""

import argparse
import ast
import copy
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LAWS = "tests/acceptance/test_laws.py"
TESTS = {
    "types/masks.py": ["tests/types"],
    "types/scores.py": ["tests/types", "tests/find/test_rankings.py"],
    "types/stats.py": ["tests/types", "tests/measure/test_comparing.py"],
    "types/store.py": ["tests/types", "tests/apps/test_kills.py"],
    "types/encoding.py": ["tests/types"],
    "types/seals.py": ["tests/types", "tests/apps/test_kills.py", "tests/apps/test_places.py"],
    "types/files.py": ["tests/types", "tests/apps/test_kills.py", "tests/apps/test_full_disk.py"],
    "interventions/folding.py": ["tests/interventions/test_folding.py", "tests/measure/test_edges.py"],
    "interventions/": ["tests/interventions", "tests/measure/test_rivals.py", LAWS],
    "engine/": ["tests/engine", "tests/measure/test_evaluation.py", "tests/measure/test_overflow.py", LAWS],
}  # fmt: skip
"""Module, or every other one of a folder -> what must notice."""
COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
           ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}  # fmt: skip
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
              ast.Mod: ast.Mult, ast.Pow: ast.Mult}  # fmt: skip


class Mutant(NamedTuple):
    """A change of one node of a module."""

    path: str
    number: int
    """Which of the module's changes."""
    line: int
    what: str


def _changed(node: ast.AST) -> ast.AST | None:
    """Another node in the place of this one; None where there is nothing to change."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare) and type(new.ops[0]) in COMPARE:
        new.ops[0] = COMPARE[type(new.ops[0])]()
    elif isinstance(new, ast.BinOp) and type(new.op) in ARITHMETIC:
        new.op = ARITHMETIC[type(new.op)]()
    elif isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(new.op, ast.And) else ast.And()
    elif isinstance(new, ast.If | ast.IfExp):
        new.test = ast.UnaryOp(ast.Not(), new.test)
    elif isinstance(new, ast.Return) and new.value is not None:
        new.value = ast.Constant(None)
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool | int | float):
        new.value = not new.value if isinstance(new.value, bool) else new.value + 1
    else:
        return None
    return new


def _places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int]]:
    """(parent, field, place in it) of every node outside of messages, annotations and decorators."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "msg"):
            continue
        for place, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr):
                yield node, field, place if isinstance(value, list) else -1
                yield from _places(child)


def changes(path: str) -> Iterator[tuple[ast.AST, ast.AST, ast.Module]]:
    """Every change of a module: the node, what stands in its place, the whole while it does."""
    tree = ast.parse((ROOT / "sadi_lens" / path).read_text())
    for parent, field, place in list(_places(tree)):
        held = getattr(parent, field)
        old = held if place < 0 else held[place]
        new = _changed(old)
        if new is None:
            continue
        for node, is_in_place in ((new, True), (old, False)):
            if place < 0:
                setattr(parent, field, node)
            else:
                held[place] = node
            if is_in_place:
                yield old, new, tree


def mutants(path: str) -> Iterator[Mutant]:
    """Every change of a module, described."""
    for number, (old, new, _) in enumerate(changes(path)):
        said = [ast.unparse(one).split("\n")[0] for one in (old, new)]
        yield Mutant(path, number, old.lineno, f"{said[0]}  ->  {said[1]}")  # type: ignore[attr-defined]


def source(mutant: Mutant) -> str:
    """The module with the change."""
    _, _, tree = next(itertools.islice(changes(mutant.path), mutant.number, None))
    return ast.unparse(ast.fix_missing_locations(tree))


def draw(n: int, seed: int, only: str = "") -> list[Mutant]:
    """``n`` changes over all modules, or over those with ``only`` in their path."""
    package = ROOT / "sadi_lens"
    paths = sorted({str(one.relative_to(package)) for one in package.rglob("*.py")})
    chosen = [path for path in paths if only in path and path.startswith(tuple(TESTS))]
    every = [one for path in chosen for one in mutants(path)]
    return random.Random(seed).sample(every, min(n, len(every)))


def _rooms(path: str) -> list[str]:
    return TESTS[path if path in TESTS else f"{path.split('/')[0]}/"]


def tests_of(path: str) -> list[str]:
    """The tests that must notice a change of a module; its own first, which notice most."""
    module = Path(path)
    own = ROOT / "tests" / module.parent / f"test_{module.stem}.py"
    return [str(own)] * own.is_file() + [str(ROOT / one) for one in _rooms(path)]


def run(place: Path, path: str, text: str, limit: float) -> str:
    """What the tests of a module say of ``text`` in its place: ``"killed"``, ``"survived"`` or ``"timed out"``.

    They run in a fork, so that torch is imported once.
    """
    file = place / "sadi_lens" / path
    before = file.read_text()
    file.write_text(text)
    pid = os.fork()
    if not pid:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(_tested(place, path))
    try:
        end = time.monotonic() + limit
        while time.monotonic() < end:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                if os.waitstatus_to_exitcode(status) == 99:
                    raise ImportError(f"the tests do not import sadi_lens from {place}")
                return "survived" if status == 0 else "killed"
            time.sleep(0.05)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "timed out"
    finally:
        file.write_text(before)


def _tested(place: Path, path: str) -> int:
    """What pytest ends with, in the fork; 99 where it would test another copy, 98 where it raises an error of its own.

    Nothing may leave the fork but a number: the folder belongs to the parent.
    """
    try:
        import pytest

        sys.path.insert(0, str(place))
        os.environ["PYTHONPATH"] = str(place)
        import sadi_lens  # before pytest puts the folder of the tests first

        if not sadi_lens.__file__.startswith(str(place)):
            return 99
        given = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", f"--rootdir={ROOT}"]
        given += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # what is imported already
        return int(pytest.main([*given, *tests_of(path)]))
    except BaseException:
        return 98


def say(line: str) -> None:
    """A line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Print every outcome as it comes, then the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of a module's path")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one change")
    options = parser.parse_args()
    import torch
    import transformer_lens  # noqa: F401  imported once, for all forks
    import transformers  # noqa: F401

    torch.set_num_threads(1)
    found: dict[str, list[Mutant]] = {"killed": [], "survived": [], "timed out": []}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "sadi_lens", Path(folder) / "sadi_lens")
        drawn = draw(options.count, options.seed, options.only)
        for path in {str(sorted(_rooms(one.path))): one.path for one in drawn}.values():
            text = (ROOT / "sadi_lens" / path).read_text()
            end = run(Path(folder), path, text, options.limit)
            if end != "survived":
                say(f"the tests of {path} fail without a change: {end}")
                return 1
        for one in drawn:
            start = time.monotonic()
            end = run(Path(folder), one.path, source(one), options.limit)
            found[end].append(one)
            seconds = time.monotonic() - start
            say(f"{end:9s} {seconds:4.0f} s  {one.path}:{one.line}  {one.what}")
    n = sum(map(len, found.values()))
    noticed = n - len(found["survived"])
    say(f"{noticed} of {n} changes noticed ({noticed / n:.1%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
