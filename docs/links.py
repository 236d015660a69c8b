"""Every link, picture and script of built pages that points into the site must be there.

python docs/links.py FOLDER
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Targets(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Collect what a tag points to."""
        self.found += [value for name, value in attrs if name in {"href", "src"} and value]


def broken(folder: Path) -> list[str]:
    """``page: target`` of every internal target that is missing."""
    missing: list[str] = []
    for page in sorted(folder.rglob("*.html")):
        parser = _Targets()
        parser.feed(page.read_text(encoding="utf-8"))
        for target in parser.found:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            if not (page.parent / unquote(parts.path)).exists():
                missing.append(f"{page.relative_to(folder)}: {target}")
    return missing


if __name__ == "__main__":
    missing = broken(Path(sys.argv[1]))
    print("\n".join(missing))  # noqa: T201
    sys.exit(bool(missing))
