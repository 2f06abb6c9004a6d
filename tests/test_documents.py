"""The documents beside the code name what is there."""

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

from tests.shell import ROOT

PACKAGE = ROOT / "batch"
DOCUMENTS = sorted(PACKAGE.rglob("README.md"))
PATH = re.compile(r"`((?:[\w.-]+/)*(?:[\w-]+\.(?:py|md)|[\w-]+/))`")
LINK = re.compile(r"\]\(([^)#:]+)\)")
LISTED = re.compile(r"^    (?:.*   )?([\w/]+\.py)\b", re.MULTILINE)
ELSEWHERE = ("design.md", "apis.md", "pacing.md", "words.md", "style.md", "scale.md", "page.md", "screens.md")
"""Papers that are not in the repository."""


def named_in(document: Path) -> set[str]:
    """The files and folders that a document names."""
    text = document.read_text(encoding="utf-8")
    return set(PATH.findall(text)) | set(LINK.findall(text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    """Every module, folder and document that a README names exists, seen from it, from `batch/` or from the root."""
    names = named_in(document)
    assert names
    assert [] == sorted(
        name for name in names if not any((base / name).exists() for base in (document.parent, PACKAGE, ROOT))
    )


def test_the_map_names_every_package() -> None:
    """No package or module directly below `batch` is missing in the map."""
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith((".", "_"))}
    assert [] == sorted(name for name in there - {"README.md", "py.typed"} if not re.search(rf"\b{name}\b", text))


def test_what_a_docstring_lists_is_there() -> None:
    """Every file that a package's docstring lists exists in it."""
    gone = []
    for path in PACKAGE.rglob("__init__.py"):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False) or ""
        gone += [f"{path.parent.name}: {name}" for name in LISTED.findall(doc) if not (path.parent / name).exists()]
    assert [] == gone


def test_no_paper_from_elsewhere_is_cited() -> None:
    """Nothing in the repository cites a paper that is not in it."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607 - found on the PATH, wherever it is
    if tracked.returncode:
        pytest.skip("this is no git checkout")
    files = [ROOT / name for name in tracked.stdout.splitlines() if name.endswith((".py", ".md", ".toml", ".sh"))]
    citing = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in files
        if path != Path(__file__) and path.exists()
        for word in ELSEWHERE
        if word in path.read_text(encoding="utf-8")
    ]
    assert [] == citing


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("[!_]*.py")))
def test_benchmarks_can_be_imported(name: str) -> None:
    """A benchmark that no test runs still fits the program."""
    assert importlib.import_module(f"tests.benchmarks.{name}").__doc__
