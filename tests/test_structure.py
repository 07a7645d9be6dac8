"""The shape of the code: imports run one way, rooms stay small, retired words do not come back."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("methods", "pipeline", "jobs")
_COUNTED = (
    "once|twice|one|one (?:row|line|value|pass|set|float|feature|client|generator|file|vector|column|process|worker)|"
    "images|pictures|samples|operations|batches|rows|requests|shards|bits|MB|MiB|CPUs"
)
_EACH = (
    "second|minute|image|picture|sample|row|line|shard|node|worker|core|job|run|process|step|batch|key|object|pass|side"
)
PER_WRITTEN_A = rf"(?i)(?<!\. )\b(?:{_COUNTED}) an? (?:{_EACH})\b(?! of\b| time\b)"
"""Such as "images a second" and "one row a sample"."""
RETIRED = {
    "shall": (r"\bshall\b", "will, or the plain present"),
    "judge": (r"\b[Jj]udges?\b", "discriminator, or compares"),
    "judged": (r"\bjudge[ds]?_|\bjudged\b", "discriminator, or compares"),
    "told": (r"\btold\b", "called with, annotations"),
    "Refusal": (r"\bRefusal\b", "Rejection"),
    "settle": (r"\bsettle(d|s)?_", "resolve"),
    "settled": (r"\bsettled?\b|\bFit\(|\bit is of\b", "resolve, Capacity, belongs to"),
    "Seen": (r"\bSeen\(", "DuplicateFinder"),
    "Board": (r"\bBoard\(", "Activity"),
    "tones_apart": (r"\btones_apart\b", "(gone)"),
    "bank": (r"\b[Bb]anks?\b|_banks?\b|\bbank_", "prompts"),
    "per_written_a": (PER_WRITTEN_A, "per"),
}
"""By a short name: the pattern, and what to write in its place."""


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("methods", ("pipeline", "jobs", "ray")), ("pipeline", ("jobs",)), ("jobs", ("tests", "benchmarks"))],
)
def test_imports_run_one_way(package: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(package)
        for module in imports(path)
        if module.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_the_pipeline_names_no_method() -> None:
    methods = {path.parent.name for path in (ROOT / "methods").glob("*/info.py")}
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("pipeline")
        for module in imports(path)
        if module.startswith("methods.") and module.split(".")[1] in methods
    ]
    assert wrong == []


def test_no_import_circle_between_modules() -> None:
    """Not even one by an import inside a function or for types alone: two modules of a circle are one."""
    graph: dict[str, set[str]] = {}
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for p in PACKAGES for path in sources(p)}
    known = set(names.values())
    for path, name in names.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module in known]
        graph[name] = {str(node.module) for node in top}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for following in graph[name]:
                walk(following, (*trail, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_names_inside_an_output_are_written_in_one_module() -> None:
    """`paths.py` alone says where things lie in an output; other modules take names from there."""
    ours = re.compile(r"_sceneshift(/.*)?|index\.parquet|metrics\.json|report/index\.html|success\.json|job\.json")
    wrong = []
    for package in ("pipeline", "jobs"):
        for path in sources(package):
            if path.relative_to(ROOT) == Path("pipeline/paths.py"):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and ours.fullmatch(node.value):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.value}")
    assert wrong == []


def test_tensors_are_written_in_one_way() -> None:
    """`tensor_file.write_tensors`: equal tensors are equal bytes, which the library's own writer does not promise."""
    wrong = [
        f"{path.relative_to(ROOT)} names save_file"
        for package in PACKAGES
        for path in sources(package)
        if re.search(r"\bsave_file\b", path.read_text(encoding="utf-8"))
    ]
    assert wrong == []


def threaded_read(call: ast.Call) -> bool:
    """Whether a call is one by which Arrow reads in threads of its own."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = {each.arg: ast.unparse(each.value) for each in call.keywords}
    if name == "read_table":
        return True
    if name in ("read_csv", "read_json"):
        return len(call.args) < 2 and "read_options" not in given
    groups = name in ("iter_batches", "read_row_group", "read_row_groups") and "batch_format" not in given  # Ray's
    whole = name == "read" and "columns" in given
    return (groups or whole or name == "ReadOptions") and given.get("use_threads") != "False"


def test_arrow_reads_in_the_calling_thread() -> None:
    """A thread of Arrow's that drops a Python object while the process ends aborts it: status 134 for a 0 or a 2."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}"
        for package in ("pipeline", "jobs")
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and threaded_read(node)
    ]
    assert wrong == []


def test_the_map_names_every_module() -> None:
    """AGENTS.md leads to `docs/reference/modules.md`, which names every module and what it is for."""
    assert "](docs/reference/modules.md)" in (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    folder, named = "", set()
    for line in (ROOT / "docs" / "reference" / "modules.md").read_text(encoding="utf-8").splitlines():
        folder = line.removeprefix("## ") if line.startswith("## ") else folder
        if found := re.fullmatch(r"- `(\w+\.py)`: (.+[.!?])", line):
            named.add(f"{folder}/{found[1]}")
    assert named == {str(path.relative_to(ROOT)) for package in PACKAGES for path in sources(package)}


def test_no_module_is_longer_than_a_room() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for p in PACKAGES for path in sources(p)}
    assert {name: lines for name, lines in long.items() if lines > 450} == {}


@pytest.mark.parametrize("name", RETIRED)
def test_retired_words_do_not_come_back(name: str) -> None:
    word, instead = RETIRED[name]
    tracked = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.j2", "*.yaml"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = []
    for file in tracked.stdout.split():
        path = ROOT / file
        if "golden" in file or file == "tests/test_structure.py" or not path.exists():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(word, line):
                found.append(f"{file}:{number}: {line.strip()[:80]}")
    assert found == [], f"write {instead}"


def test_every_make_target_is_defined_once() -> None:
    """Make takes the last of two definitions and drops the other with a warning that nobody reads."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    targets = [line.partition(":")[0] for line in lines if re.match(r"[a-z][\w -]*:(?!=)", line)]
    assert sorted(set(targets)) == sorted(targets)


def test_no_two_public_classes_have_one_name() -> None:
    """A name in a message, a traceback or a search stands for one thing."""
    homes: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sources(package):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
