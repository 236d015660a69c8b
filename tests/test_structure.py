"""The shape of the package: no module imports one that imports it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "sadi_lens").rglob("*.py"))
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(node: ast.AST) -> Iterator[str]:
    """Names that a module imports when it runs, inside functions too; for type checkers alone does not count."""
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING":
            continue
        if isinstance(one, ast.Import):
            yield from (alias.name for alias in one.names)
        elif isinstance(one, ast.ImportFrom) and one.module:
            yield from (f"{one.module}.{alias.name}" for alias in one.names)
            yield one.module
        yield from imported(one)


def test_no_module_imports_one_that_imports_it():
    modules = {name_of(path) for path in TREES}
    graph: dict[str, set[str]] = {}
    for path, tree in TREES.items():
        graph[name_of(path)] = {name for name in imported(tree) if name in modules}
    # A package imports what it holds; what it holds names the package where it names a module of it.
    for name, found in graph.items():
        graph[name] = {one for one in found if not f"{name}.".startswith(f"{one}.")}
    list(TopologicalSorter(graph).static_order())  # CycleError names the circle
