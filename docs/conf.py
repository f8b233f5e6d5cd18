"""How Sphinx makes a site of these pages: `make docs`."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from sphinx.application import Sphinx

import trio_wsendpoint

HERE = Path(__file__).parent

project = "trio_wsendpoint"
author = "the trio_wsendpoint contributors"
project_copyright = author
version = release = trio_wsendpoint.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
    "myst_parser",
]
exclude_patterns = ["_build", "inventories"]
html_theme = "furo"
html_title = f"{project} {version}"
html_extra_path = ["benchmarks.svg"]
html_copy_source = False

# What a docstring has in single backquotes leads to its place in the reference, if it has one.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
add_module_names = False

# As README.md's readers know them.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Kept here, so that the site is built without a network.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.inv"),
    "trio": ("https://trio.readthedocs.io/en/stable", "inventories/trio.inv"),
    "attrs": ("https://www.attrs.org/en/stable", "inventories/attrs.inv"),
}

# Pages that people look for beside pyproject.toml.
TOP = {
    "index": "README.md",
    "contributing": "CONTRIBUTING.md",
    "vulnerabilities": "SECURITY.md",
}
EXAMPLE = re.compile(r"\]\((?:\.\./)?examples/(\w*)(?:\.py)?/?\)")
QUOTED = re.compile(r"``.*?``|:[\w:]+:`[^`]*`|`([^`]+)`(\w?)", re.DOTALL)
NAME = re.compile(r"[\w.]+")
LINK_OUT = re.compile(r"\[([^\]]+)\]\((?:\.\./)[^)]*\)")


def adapt_links(_app: Sphinx, page: str, source: list[str]) -> None:
    """Have links to files that are no pages lead to what the site has of them."""
    text = source[0]
    if page in TOP:
        top = (HERE.parent / TOP[page]).read_text(encoding="utf-8")
        text = top.replace("](docs/", "](") + (text if page == "index" else "")
    if page == "examples":
        text += "".join(map(show_example, sorted((HERE.parent / "examples").glob("*.py"))))
    for name, file in TOP.items():
        text = text.replace(f"]({file}", f"]({name}.md")
    text = EXAMPLE.sub(lambda match: f"](examples.md#{match[1].replace('_', '-')})", text)
    text = text.replace("](examples.md#)", "](examples.md)")
    # What GitHub draws of it is drawn by a program of the reader's; here it is text.
    text = text.replace("```mermaid", "```text")
    source[0] = LINK_OUT.sub(r"\1", text)


def show_example(file: Path) -> str:
    """The section of a page that has an example in it."""
    heading = file.stem.replace("_", " ")
    include = f"```{{literalinclude}} ../examples/{file.name}\n:language: python\n```"
    return f"\n## {heading}\n\n{include}\n"


def add_the_rest(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Have a page of the reference end with what no page has of its module."""
    if "\n.. THE REST\n" not in source[0]:
        return
    documented = set()
    for other in (HERE / "api").glob("*.rst"):
        documented.update(re.findall(r"(?m)^\.\. auto\w+:: (\w+)$", other.read_text()))
    (name,) = re.findall(r"(?m)^\.\. currentmodule:: (\S+)$", source[0])
    module = importlib.import_module(name)
    rest = sorted(set(module.__all__) - documented)
    directives = (describe(member, getattr(module, member)) for member in rest)
    source[0] = source[0].replace("\n.. THE REST\n", "\n" + "\n".join(directives))


def describe(name: str, value: object) -> str:
    """The directive for a name of a module."""
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        return f".. auto{kind}:: {name}\n   :members:\n   :show-inheritance:\n"
    return f".. auto{'function' if inspect.isfunction(value) else 'data'}:: {name}\n"


def mark_code(_app: Sphinx, *arguments: object) -> None:
    """Have code in a docstring, in single backquotes as in Markdown, be code here, too."""
    lines = arguments[-1]
    assert isinstance(lines, list)
    lines[:] = QUOTED.sub(mark_quoted, "\n".join(lines)).split("\n")


def mark_quoted(match: re.Match[str]) -> str:
    """Leave a name to be looked up, and all that is marked already."""
    if not match[1]:
        return match[0]
    mark = "`" if NAME.fullmatch(match[1]) else "``"
    # A letter may not follow at once, as it does in a plural.
    return f"{mark}{match[1]}{mark}" + (f"\\ {match[2]}" if match[2] else "")


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("source-read", adapt_links)
    app.connect("source-read", add_the_rest)
    app.connect("autodoc-process-docstring", mark_code)
