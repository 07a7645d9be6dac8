"""The page of all modules: one line per module, by folder, made of the first sentences of their docstrings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGES = ("pipeline", "methods", "jobs")
_ROOT = Path(__file__).resolve().parents[1]


def module_map(root: Path = _ROOT) -> str:
    """The page as Markdown.

    Args:
        root: the folder that holds the packages.

    Raises:
        ValueError: a module has no docstring; the module is named.
    """
    text = (
        "# Modules\n\nEvery module and the first sentence of its docstring, by folder. "
        "[AGENTS.md](../../AGENTS.md) says how the rooms belong together.\n"
    )
    for package in PACKAGES:
        for folder in sorted({path.parent for path in (root / package).rglob("*.py")}):
            text += f"\n## {folder.relative_to(root).as_posix()}\n\n"
            modules = sorted(folder.glob("*.py"), key=lambda path: (path.name != "__init__.py", path.name))
            text += "".join(f"- `{path.name}`: {first_sentence(path)}\n" for path in modules)
    return text


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, in one line, with its full stop.

    Raises:
        ValueError: the module has no docstring.
    """
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{path}: a module begins with a docstring that says what it is for")
    paragraph = " ".join(docstring.split("\n\n")[0].replace("``", "`").split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0]
