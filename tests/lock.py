"""Pin the newest dependencies of pyproject.toml into the two lock files, with hashes and without any host."""

import subprocess
import sys
import tempfile
import tomllib
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


def pin(needs: list[str], lock: Path, what: str, *more: str) -> None:
    """Write `lock` for `needs`."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "needs.in")
        source.write_text("\n".join(needs) + "\n")
        compiled = Path(folder, "needs.lock")
        command = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, *more, str(source), "-o", str(compiled)]
        subprocess.run(command, check=True)
        lock.write_text(f"# {what}, pinned with hashes. Made by:  ./run.sh lock\n" + compiled.read_text())


def main() -> None:
    """Pin what batch runs on, then what its tests need beside it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run, tests = ROOT / "requirements.lock", ROOT / "tests" / "requirements.lock"
    pin(project["project"]["dependencies"], run, "Everything batch runs on")
    pin(project["dependency-groups"]["dev"], tests, "What the tests need beside requirements.lock", "-c", str(run))


if __name__ == "__main__":
    main()
