"""Self-contained HTML pages: templates, style, plotly.js inline; no network, no server, no build step."""

from sadi_lens.apps.web.figures import Panel, panel
from sadi_lens.apps.web.page import render, script_json, theme_css, write_page

__all__ = ["Panel", "panel", "render", "script_json", "theme_css", "write_page"]
