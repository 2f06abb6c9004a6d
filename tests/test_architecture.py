"""The house: imports go down its floors only, libraries live in few rooms, and functions stay readable."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "batch"
FLOORS = [
    {"model", "errors", "guard", "files"},
    {"settings"},
    {"pacer", "retry", "transport"},
    {"endpoints"},
    {"sources", "columns", "conventions", "changes", "compare", "sender", "journal", "results", "report"},
    {"job"},
    {"cli", "__main__"},
]
"""From the bottom to the top (design.md, section 3); `guard` and `files` are below the stages that share them."""
STAGES = FLOORS[4]
MAX_BODY, MAX_PARAMETERS, MAX_LINES = 60, 6, 350
ALLOWED = {
    "click": {"cli"},
    "rich": {"cli"},
    "httpx": {"transport", "job"},
    "pydantic": {"settings", "changes", "conventions", "endpoints", "transport", "job"},
}
"""Libraries that live in few rooms. `job` names httpx's type for the transport that tests put in its place, and checks
plans, which come from outside, with pydantic."""
ASYNCIO = {"transport", "sandbox"}


@cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT.parent))


def imports(path: Path, tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, absolute, also inside of functions."""
    parts = ["batch", *path.relative_to(ROOT).with_suffix("").parts]
    package = parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def rooms_used(path: Path, tree: ast.Module) -> set[str]:
    parts = [name.split(".") for name in imports(path, tree)]
    rooms = {room(one) for one in modules()}
    return {one[1] for one in parts if one[0] == "batch" and len(one) > 1 and one[1] in rooms}


def floor(name: str) -> int:
    (found,) = [number for number, rooms in enumerate(FLOORS) if name in rooms]
    return found


def functions() -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {
        f"{name_of(path)}:{node.lineno} {node.name}": node
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    has_doc = ast.get_docstring(node) is not None
    body = node.body[1:] if has_doc else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_every_room_has_a_floor() -> None:
    """Every room of the house stands on one floor; the sandbox stands beside it."""
    known = set().union(*FLOORS) | {"sandbox", "__init__"}
    assert set() == {room(path) for path in modules()} - known


def test_imports_go_down() -> None:
    """No room imports from a floor above, and no stage from another stage."""
    beside = {"sandbox", "__init__"}
    used = {
        (room(path), there, name_of(path))
        for path, tree in modules().items()
        for there in rooms_used(path, tree) - beside - {room(path)}
        if room(path) not in beside
    }
    wrong = [one for one in used if floor(one[1]) > floor(one[0]) or {one[0], one[1]} <= STAGES]
    assert [] == sorted(wrong)


def test_the_sandbox_stands_alone() -> None:
    """The imitated APIs share no code with the program, or a mistake would agree with itself; few rooms start them."""
    outward = {there for path, tree in modules().items() if room(path) == "sandbox" for there in rooms_used(path, tree)}
    inward = {room(path) for path, tree in modules().items() if "sandbox" in rooms_used(path, tree)}
    assert (set(), {"job", "cli", "sandbox"}) == (outward - {"sandbox", "errors", "__init__"}, inward | {"job", "cli"})


def test_no_circles() -> None:
    """No two rooms import each other."""
    used: dict[str, set[str]] = {}
    for path, tree in modules().items():
        used.setdefault(room(path), set()).update(rooms_used(path, tree) - {room(path)})
    assert [] == [(one, other) for one in used for other in used[one] if one in used.get(other, set()) and one < other]


@pytest.mark.parametrize("library", ALLOWED)
def test_libraries_live_in_few_rooms(library: str) -> None:
    """A library is known to few rooms, so that it can be replaced in one place."""
    users = {
        room(path)
        for path, tree in modules().items()
        if library in {name.split(".")[0] for name in imports(path, tree)}
    }
    assert set() == users - ALLOWED[library] - {"sandbox"}


def test_anyio_only() -> None:
    """What waits, waits through anyio, so that a whole job can run on a virtual clock."""
    users = {
        room(path)
        for path, tree in modules().items()
        if {"asyncio", "trio"} & {name.split(".")[0] for name in imports(path, tree)}
    }
    assert set() == users - ASYNCIO


def is_printing(node: ast.AST) -> bool:
    """Whether it is `print(…)`, `sys.stdout` or `sys.stderr`."""
    match node:
        case ast.Call(func=ast.Name(id="print")):
            return True
        case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"):
            return True
    return False


def test_only_the_command_line_prints() -> None:
    """Nothing but the command line and the sandbox's own program writes to the screen."""
    printing = {room(path) for path, tree in modules().items() if any(map(is_printing, ast.walk(tree)))}
    assert set() == printing - {"cli", "sandbox"}


def test_no_vague_rooms() -> None:
    """No module is called by a name that says nothing."""
    vague = {"utils", "util", "helpers", "common", "core", "manager", "misc"}
    assert set() == {part for path in modules() for part in path.with_suffix("").parts} & vague


def test_every_module_says_what_it_is_for() -> None:
    """Every module opens with a docstring."""
    assert [] == [name_of(path) for path, tree in modules().items() if not ast.get_docstring(tree)]


def test_functions_are_short() -> None:
    """No function has a body of more than 60 lines; half have at most 10, and nine of ten at most 30."""
    lengths = {name: body_lines(node) for name, node in functions().items()}
    assert [] == [name for name, length in lengths.items() if length > MAX_BODY]
    ordered = sorted(lengths.values())
    assert (True, True) == (ordered[len(ordered) // 2] <= 10, ordered[int(len(ordered) * 0.9)] <= 30)


def test_functions_take_few_parameters() -> None:
    """No function outside of the command line takes more than six parameters, self aside."""
    many = []
    for name, node in functions().items():
        arguments = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        if len([one for one in arguments if one not in ("self", "cls")]) > MAX_PARAMETERS and "batch/cli/" not in name:
            many.append(name)
    assert [] == many


def test_files_are_short() -> None:
    """Files have about 350 lines at most."""
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert [] == [f"{name}: {length}" for name, length in lengths.items() if length > MAX_LINES * 1.1]


def test_ignores_have_reasons() -> None:
    """Every lint or type exception says on its line why it is one."""
    bare = [
        f"{name_of(path)}:{number}"
        for path in modules()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for mark in ("# noqa", "# type: ignore")
        if mark in line and not _has_reason(line.split(mark, 1)[1])
    ]
    assert [] == bare


def _has_reason(rest: str) -> bool:
    """`: S608 - only marks`, or `[misc]  # as above`."""
    return bool(re.search(r" --? \w|  # \w", rest))
