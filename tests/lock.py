"""Pin the newest dependencies of pyproject.toml into the lock files, with hashes and without any host."""

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
OPTIONS = [
    "--quiet",
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-header",
    "--no-emit-index-url",
    "--no-annotate",
]


def pin(needs: list[str], lock: Path, what: str, beside: Sequence[Path] = ()) -> None:
    """Write `lock` for `needs`; what the locks `beside` pin, too, has their versions."""
    more = [word for path in beside for word in ("-c", str(path))]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "needs.in")
        source.write_text("\n".join(needs) + "\n")
        compiled = Path(folder, "needs.lock")
        command = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, *more, str(source), "-o", str(compiled)]
        subprocess.run(command, check=True)
        lock.write_text(f"# {what}, pinned with hashes. Made by:  ./run.sh lock\n" + compiled.read_text())


def constrain(locks: Sequence[Path], constraints: Path) -> None:
    """Write the versions that `locks` pin without their hashes, which pip would want of the wheel of batch, too."""
    lines = [line for path in locks for line in path.read_text().splitlines() if line and line[0] not in " #"]
    versions = sorted({line.removesuffix("\\").rstrip() for line in lines})
    head = "# What batch was tested with:  pip install batch-….whl -c constraints.txt      Made by:  ./run.sh lock\n"
    constraints.write_text(head + "".join(f"{line}\n" for line in versions))


def main() -> None:
    """Pin what batch runs on, then its extras, then what its tests and the long ones need beside these."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run, tests = ROOT / "requirements.lock", ROOT / "tests" / "requirements.lock"
    pin(project["project"]["dependencies"], run, "Everything batch runs on")
    pinned = [run]
    for name, needs in project["project"]["optional-dependencies"].items():
        pin(needs, ROOT / f"requirements-{name}.lock", f"The extra {name}", pinned)
        pinned.append(ROOT / f"requirements-{name}.lock")
    constrain(pinned, ROOT / "constraints.txt")
    groups = project["dependency-groups"]
    pin(groups["dev"], tests, "What the tests need beside these", pinned)
    lock = ROOT / "tests" / "requirements-long.lock"
    pin(groups["long"], lock, "What the long tests need beside these", [*pinned, tests])
    lock = ROOT / "tests" / "requirements-browser.lock"
    pin(groups["browser"], lock, "What drives a real browser", [*pinned, tests])
    lock = ROOT / "tests" / "requirements-pipelines.lock"
    pin(groups["pipelines"], lock, "What the long tests of samples/pipelines need beside these", [run])


if __name__ == "__main__":
    main()
