"""``python -m sadi_lens`` is the command ``sadi-lens``."""

from sadi_lens.apps.cli import app

if __name__ == "__main__":
    app(prog_name="sadi-lens")
