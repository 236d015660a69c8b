"""Sphinx settings: built offline and strictly by ``make docs``.

Two kinds of pages are written before the build and kept out of the repository: ``api/`` (one page a room, from its
``__all__``) and ``lessons/`` (copies of the notebooks, with the outputs that they were saved with).
"""

import shutil
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

import sadi_lens as sl

HERE = Path(__file__).parent

project = "sadi_lens"
author = "the sadi_lens contributors"
version = release = installed_version("sadi_lens")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]
nitpicky = False

# Lessons show what they were saved with.
nb_execution_mode = "off"
nb_mime_priority_overrides = [
    ("html", "application/vnd.plotly.v1+json", None),
    ("html", "image/png", 0),
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "sadi_lens"
html_show_search_summary = False  # a browser fetches no page for a page that was opened from disk
html_show_copyright = False
html_extra_path = ["_extra"] if (HERE / "_extra").is_dir() else []
html_theme_options = {"source_repository": "", "navigation_with_keys": True}

ROOMS = {
    "types": "Data, masks and results",
    "tasks": "Tasks: pairs, dev and test",
    "models": "Loading models",
    "find": "Where it lives: differences and rankings",
    "interventions": "Ways to steer",
    "engine": "Steering and generating",
    "measure": "Measuring",
    "plots": "Figures",
    "apps": "Experiments, report, explorer",
    "serving": "vLLM",
    "interop": "lm-evaluation-harness",
}


def _described(room: str, name: str) -> str:
    value = getattr(getattr(sl, room), name)
    kind = "autoclass" if isinstance(value, type) else "autofunction" if callable(value) else ""
    if not kind:  # a constant: its names, where it has some
        names = ", ".join(f"`{one}`" for one in value) if isinstance(value, dict | tuple) else ""
        return f"**`sadi_lens.{room}.{name}`** {names}\n"
    members = "\n   :members:" if kind == "autoclass" else ""
    return f"```{{eval-rst}}\n.. {kind}:: sadi_lens.{room}.{name}{members}\n```\n"


def _write_api(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for room, title in ROOMS.items():
        module = getattr(sl, room)
        about = (module.__doc__ or "").strip()
        names = [name for name in module.__all__ if name not in SHOWN]
        SHOWN.update(names)
        names.sort(key=lambda name: isinstance(getattr(module, name), type))  # functions first
        text = f"# {title}\n\n`sadi_lens.{room}`: {about}\n\n"
        text += "\n".join(_described(room, name) for name in names)
        page = folder / f"{room}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


# A name that two rooms offer is described once; SadiLM is a class of lm_eval's and exists beside it only.
SHOWN: set[str] = set() if find_spec("lm_eval") else {"SadiLM"}
_write_api(HERE / "api")

(HERE / "lessons").mkdir(exist_ok=True)
for copied in (HERE / "lessons").glob("*.ipynb"):
    if not (HERE.parent / "notebooks" / copied.name).exists():
        copied.unlink()
for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    shutil.copyfile(notebook, HERE / "lessons" / notebook.name)
