"""How Sphinx builds the site; `python3 dev.py docs` runs it.

Tables that the code holds are put into the pages as they are read, so that none can be out of
date: a page says `<!-- table: settings -->`, and docs/tables.py has a function of that name.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs import tables  # noqa: E402 - found once the path is set

project = "comfyui-image-generator"
author = "The comfyui-image-generator authors"
copyright = author  # noqa: A001 - Sphinx's name for it
release = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)[0]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other libraries have no page here

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
default_role = "literal"  # docstrings quote code with single backticks

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False


def setup(app: Any) -> None:
    """Puts the tables into the pages, and the drawings of docstrings into boxes."""
    app.connect("source-read", _fill_tables)
    app.connect("autodoc-process-docstring", _box_drawings)
    app.connect("autodoc-process-signature", _readable_signature)


def _fill_tables(app: Any, page: str, source: list[str]) -> None:
    source[0] = tables.fill(source[0])


def _box_drawings(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Makes literal blocks of what stands apart in a docstring: indented lines, and trees."""
    boxed: list[str] = []
    for paragraph in "\n".join(lines).split("\n\n"):
        if paragraph.startswith("    ") or "├" in paragraph:
            boxed += ["::", "", *(f"    {line}" for line in paragraph.splitlines()), ""]
        else:
            boxed += [*paragraph.splitlines(), ""]
    lines[:] = boxed


def _readable_signature(
    app: Any,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    arguments: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """A signature that Python can read: of one that it cannot, Sphinx shows every module's path."""
    readable = None if arguments is None else arguments.replace("<factory>", "...")
    return readable, returns
