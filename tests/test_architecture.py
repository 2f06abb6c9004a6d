"""The layers: imports go down only and never in a circle, and a library lives in few packages."""

import ast
import re
from collections.abc import Iterator, Mapping, Set
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "batch"
LAYERS = [
    {
        "addresses", "problems", "model", "errors", "files", "input_names", "machine", "open_databases", "own_files",
        "csv_injection", "credentials",
        "exact_json", "logins", "shard", "system_keyring", "extras", "user_file",
    },
    {"settings"},
    {"ratelimit", "retry", "http", "remote"},
    {"endpoints"},
    {
        "sources", "columns", "number_date_formats", "provenance", "validation", "diff", "conditions", "journal",
        "outputs", "documents", "summary", "events", "exit_code", "mappings",
    },
    {"run", "engine"},
    {"commands"},
    {"library"},
    {"aio", "cli", "web", "distributed", "__main__"},
]  # fmt: skip
"""From the bottom to the top: what a package imports lies in its own layer or below."""
BESIDE = {"sandbox", "__init__"}
"""What belongs to no layer: the imitated APIs, which share no code with the rest, and the package itself."""
LIBRARIES = {
    "click": {"cli"},
    "httpx": {"http", "library", "run"},
    "httptools": {"http"},
    "pydantic": {
        "settings", "validation", "number_date_formats", "endpoints", "outputs", "run", "engine", "mappings",
        "documents", "summary", "events",
    },
    "xlsxwriter": {"outputs", "sources"},
    "asyncio": set(),
    "trio": set(),
    "starlette": {"web"},
    "uvicorn": {"web"},
    "jinja2": {"outputs", "web"},
    "keyring": {"system_keyring"},
    "obstore": {"remote"},
    "redis": {"ratelimit"},
    "dask": {"distributed"},
    "distributed": {"distributed"},
    "python_calamine": {"sources"},
    "deltalake": {"sources"},
}  # fmt: skip
"""Where a library is imported. What waits, waits through anyio, so that a whole job can run on a virtual clock."""


@cache
def modules() -> dict[Path, ast.Module]:
    """Parse every module of the program."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def package(path: Path) -> str:
    """Name the package (or module) directly below `batch` that a file belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def dotted(path: Path) -> str:
    """Name a module as it is imported."""
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def name_of(path: Path) -> str:
    """Name a file from the project's root."""
    return str(path.relative_to(ROOT.parent))


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield everything that is imported, also inside of functions, as a dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def known_modules() -> set[str]:
    """List the modules of the program."""
    return {dotted(path) for path in modules()}


@cache
def modules_used(path: Path, *, at_import: bool) -> frozenset[str]:
    """List the modules of the program that a module imports; `at_import`: only what its own import needs."""
    tree = modules()[path]
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    known = known_modules()
    used = set()
    for name in imports(top if at_import else tree):
        while name and name not in known:
            name = name.rpartition(".")[0]
        used |= {name} - {"", "batch", dotted(path)}
    return frozenset(used)


def packages_used(path: Path) -> set[str]:
    """List the packages that a module imports from."""
    return {name.split(".")[1] for name in modules_used(path, at_import=False)} - {package(path)}


@cache
def libraries_used(path: Path) -> set[str]:
    """List the libraries that a module imports."""
    return {name.partition(".")[0] for name in imports(modules()[path])}


def layer(name: str) -> int:
    """Give the layer of a package."""
    (found,) = [number for number, packages in enumerate(LAYERS) if name in packages]
    return found


def assert_no_circle(used: Mapping[str, Set[str]]) -> None:
    """Fail with the circle, if there is one."""
    try:
        TopologicalSorter(used).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_every_package_has_a_layer() -> None:
    """Every package stands in one layer, and no layer names a package that is gone."""
    placed = {name for packages in LAYERS for name in packages}
    assert placed | BESIDE == {package(path) for path in modules()}


def test_imports_go_down() -> None:
    """No package imports from a layer above its own."""
    wrong = [
        (name_of(path), used)
        for path in modules()
        if package(path) not in BESIDE
        for used in packages_used(path) - BESIDE
        if layer(used) > layer(package(path))
    ]
    assert [] == wrong


def test_no_circles() -> None:
    """Neither packages nor modules import each other in a circle."""
    by_package: dict[str, set[str]] = {}
    for path in modules():
        by_package.setdefault(package(path), set()).update(packages_used(path))
    assert_no_circle(by_package)
    assert_no_circle({dotted(path): modules_used(path, at_import=True) for path in modules()})


def test_the_sandbox_stands_alone() -> None:
    """The imitated APIs share no code with the program, or a mistake would agree with itself; few start them."""
    outward = {used for path in modules() if package(path) == "sandbox" for used in packages_used(path)}
    inward = {package(path) for path in modules() if "sandbox" in packages_used(path)}
    assert ({"errors"}, {"run", "cli"}) == (outward - {"__init__"}, inward)


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_live_in_few_packages(library: str) -> None:
    """A library is known to few packages, so that it can be replaced in one place."""
    users = {package(path) for path in modules() if library in libraries_used(path)}
    assert LIBRARIES[library] == users - {"sandbox"}


SETTINGS_USERS = {"__init__", "cli", "commands", "library", "run", "web"}
"""Packages that take the settings as a whole; others get the values they use."""


def takes_settings(tree: ast.Module) -> bool:
    """Whether a module imports `Settings` (also for annotations only), or has a parameter of this type."""
    if "batch.settings.Settings" in imports(tree):
        return True
    given = (node.annotation for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation)
    return any(re.search(r"\bSettings\b", ast.unparse(one)) for one in given)


def test_settings_are_passed_to_few_packages() -> None:
    """A module that needs three values does not take all settings, of which nobody then knows which it reads."""
    users = {package(path) for path, tree in modules().items() if takes_settings(tree)}
    assert SETTINGS_USERS == users - {"settings"}


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
    printing = {package(path) for path, tree in modules().items() if any(map(is_printing, ast.walk(tree)))}
    assert set() == printing - {"cli", "sandbox"}


def test_no_vague_modules() -> None:
    """No module is called by a name that says nothing."""
    vague = {"utils", "util", "helpers", "common", "core", "manager", "misc"}
    assert set() == {part for path in modules() for part in path.with_suffix("").parts} & vague


def test_every_module_says_what_it_is_for() -> None:
    """Every module opens with a docstring."""
    assert [] == [name_of(path) for path, tree in modules().items() if not ast.get_docstring(tree)]


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
