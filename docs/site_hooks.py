"""For mkdocs.yml: files outside of docs/ that its pages link to become files of the site.

The pages are readable as files too, so their links lead to where those files are in the tree.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, relpath
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = re.compile(r"\]\((?:\.\./)+((?:tests|examples)/[\w/]+\.\w+)\)")
FOLDER = "files"  #: of the site, in which they are; as text, which a browser shows


def on_files(files: Files, *, config: Any) -> Files:
    """Add what is linked to."""
    linked = {found for page in files.documentation_pages() for found in OUTSIDE.findall(page.content_string)}
    for path in sorted(linked):
        content = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, at(path), content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: Any, files: Files) -> str:
    """Let the links of a page lead there."""
    here = dirname(page.file.src_uri)
    return OUTSIDE.sub(lambda link: f"]({relpath(at(link[1]), here or '.')})", markdown)


def at(path: str) -> str:
    """Where in the site a file of the tree is."""
    return f"{FOLDER}/{path}" if path.endswith(".txt") else f"{FOLDER}/{path}.txt"
