"""Lines that no test guards: one small change at a time, and a test that runs the changed line must fail.

``python tests/mutants.py N`` draws N changes with a seed and prints what became of each, and the score
(``make mutants``: 200). The tests run once on what is unchanged, where they must pass, and coverage notes which of them
run which line; a change meets the tests of its line alone, those of its module's own file and the fast ones first.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
TARGETS = ("types/masks.py", "types/scores.py", "types/stats.py", "types/store.py", "types/encoding.py",
           "types/seals.py", "types/files.py", "interventions/", "engine/")  # fmt: skip
"""Modules that are changed, or folders of them."""
TESTS = ("tests/types", "tests/engine", "tests/interventions", "tests/find", "tests/measure", "tests/models",
         "tests/acceptance/test_laws.py", "tests/apps/test_kills.py", "tests/apps/test_places.py")  # fmt: skip
"""What must notice."""
MOST = 90.0
"""Seconds of tests that a change meets, as they took on what is unchanged."""
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
    last: int
    """Last line of what is changed; ``line`` is the first one of its statement."""
    what: str


class Known(NamedTuple):
    """What the tests did on what is unchanged."""

    tests: dict[str, dict[int, set[str]]]
    """Module -> line -> tests that run it."""
    seconds: dict[str, float]
    """Test -> what it took."""


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


def _places(node: ast.AST, line: int = 1) -> Iterator[tuple[ast.AST, str, int, int]]:
    """(parent, field, place in it, first line of the statement) of every node that may be changed.

    Messages, annotations and decorators are left alone.
    """
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "msg"):
            continue
        for place, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr):
                first = child.lineno if isinstance(child, ast.stmt) else line
                yield node, field, place if isinstance(value, list) else -1, first
                yield from _places(child, first)


def changes(path: str) -> Iterator[tuple[ast.AST, ast.AST, int, ast.Module]]:
    """Every change of a module: the node, what stands in its place, its statement's line, the whole while it does."""
    tree = ast.parse((ROOT / "sadi_lens" / path).read_text())
    for parent, field, place, line in list(_places(tree)):
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
                yield old, new, line, tree


def mutants(path: str) -> Iterator[Mutant]:
    """Every change of a module, described."""
    for number, (old, new, line, _) in enumerate(changes(path)):
        said = [ast.unparse(one).split("\n")[0] for one in (old, new)]
        last = getattr(old, "test", old).end_lineno  # of a condition, not of what hangs on it
        yield Mutant(path, number, line, last, f"{said[0]}  ->  {said[1]}")


def source(mutant: Mutant) -> str:
    """The module with the change."""
    *_, tree = next(itertools.islice(changes(mutant.path), mutant.number, None))
    return ast.unparse(ast.fix_missing_locations(tree))


def draw(n: int, seed: int, only: str = "") -> list[Mutant]:
    """``n`` changes over all modules, or over those with ``only`` in their path."""
    package = ROOT / "sadi_lens"
    paths = sorted({str(one.relative_to(package)) for one in package.rglob("*.py")})
    chosen = [path for path in paths if only in path and path.startswith(TARGETS)]
    every = [one for path in chosen for one in mutants(path)]
    return random.Random(seed).sample(every, min(n, len(every)))


def tests_of(mutant: Mutant, known: Known) -> list[str]:
    """The tests that run a changed line; what runs at import meets every test of the module."""
    lines = known.tests.get(mutant.path, {})
    span = range(mutant.line, mutant.last + 1)
    found = set().union(*(lines.get(line, ()) for line in span))
    if "" in found:
        found = set().union(*lines.values())
    own = f"{Path(mutant.path).parent}/test_{Path(mutant.path).stem}.py::"
    order = sorted(found - {""}, key=lambda test: (own not in test, known.seconds[test], test))
    total = list(itertools.accumulate(known.seconds[test] for test in order))
    return [test for test, until in zip(order, total, strict=True) if until <= MOST] or order[:1]


def fork(work: Callable[[], int], limit: float) -> int | None:
    """What ``work`` ends with in a fork, where torch is imported already; None where it is still at it."""
    pid = os.fork()
    if not pid:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        try:  # nothing may leave the fork but a number: the folder belongs to the parent
            end = work()
        except BaseException:
            end = 98
        os._exit(end)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


class Chosen:
    """A plugin: these tests alone, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [one for one in items if one.nodeid in self.place]
        items.sort(key=lambda one: self.place[one.nodeid])


class Noted:
    """A plugin: the name of the test that runs for coverage, its seconds, whether all passed."""

    def __init__(self, coverage: Any) -> None:
        self.coverage, self.seconds = coverage, Counter[str]()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += report.duration


def pytest_in(place: Path, plugin: Any, tests: Sequence[str]) -> int:
    """Run tests on the copy of the package that lies in ``place``."""
    import pytest

    sys.path.insert(0, str(place))
    os.environ["PYTHONPATH"] = str(place)
    import sadi_lens  # before pytest puts the folder of the tests first

    if not sadi_lens.__file__.startswith(str(place)):
        return 99
    given = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not full and not lab"]
    given += [f"--rootdir={ROOT}", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*given, *tests], plugins=[plugin]))


def learn(place: Path) -> Known:
    """Run every test once on what is unchanged.

    Raises:
        RuntimeError: If one fails.
    """
    file = place / "known.json"

    def work() -> int:
        import coverage

        package = place / "sadi_lens"
        watch = coverage.Coverage(data_file=None, source=[str(package)])
        noted = Noted(watch)
        watch.start()
        sys.path.insert(0, str(place))
        for one in sorted(
            package.rglob("*.py")
        ):  # otherwise its first test alone would run its top level
            name = ".".join(one.relative_to(place).with_suffix("").parts).removesuffix(".__init__")
            with contextlib.suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(name)
        end = pytest_in(place, noted, [str(ROOT / one) for one in TESTS])
        watch.stop()
        data = watch.get_data()
        tests = {
            str(Path(one).relative_to(package)): data.contexts_by_lineno(one)
            for one in data.measured_files()
        }
        file.write_text(json.dumps([tests, noted.seconds]))
        return end

    end = fork(work, 7200)
    if end != 0:
        raise RuntimeError(f"the tests fail without a change: pytest ended with {end}")
    tests, seconds = json.loads(file.read_text())
    lines = {
        path: {int(line): set(names) for line, names in of.items()} for path, of in tests.items()
    }
    return Known(lines, seconds)


def outcome(mutant: Mutant, known: Known, place: Path) -> str:
    """``"noticed"``, ``"survived"``, ``"no test"`` (none runs the line) or ``"timed out"``."""
    tests = tests_of(mutant, known)
    if not tests:
        return "no test"
    files = sorted({str(ROOT / test.split("::")[0]) for test in tests})
    file = place / "sadi_lens" / mutant.path
    before = file.read_text()
    file.write_text(source(mutant))
    try:
        limit = 60 + 3 * sum(known.seconds[test] for test in tests)
        end = fork(lambda: pytest_in(place, Chosen(tests), files), limit)
    finally:
        file.write_text(before)
    if end == 99:
        raise ImportError(f"the tests do not import sadi_lens from {place}")
    return {None: "timed out", 0: "survived"}.get(end, "noticed")


def main() -> int:
    """Print every outcome as it comes, then the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of a module's path")
    options = parser.parse_args()
    import torch
    import transformer_lens  # noqa: F401  imported once, for all forks
    import transformers  # noqa: F401

    torch.set_num_threads(1)
    sys.stdout.reconfigure(line_buffering=True)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(ROOT / "sadi_lens", place / "sadi_lens")
        known = learn(place)
        sys.stdout.write(f"{len(known.seconds)} tests pass without a change\n")
        for one in draw(options.count, options.seed, options.only):
            start = time.monotonic()
            end = outcome(one, known, place)
            counts[end] += 1
            sys.stdout.write(
                f"{end:9s} {time.monotonic() - start:4.0f} s  {one.path}:{one.line}  {one.what}\n"
            )
    n = counts.total()
    noticed = counts["noticed"] + counts["timed out"]
    sys.stdout.write(f"{noticed} of {n} changes noticed ({noticed / n:.1%})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
