"""What the tests of the page share: a page in this process, before a sandbox over real sockets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.run.target import Environment
from tests.job_fixture import JobFixture
from tests.web.browser import Browser, opened


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The world of a page, with a home of its own."""
    for name in ("STATE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def browser(variables: dict[str, str]) -> Iterator[Browser]:
    """A browser that has opened the page."""
    with opened(Environment(variables), slow_seconds=0.2) as found:
        assert found.open().status_code == 200
        yield found


@pytest.fixture
def stranger(variables: dict[str, str]) -> Iterator[Browser]:
    """A browser that has not."""
    with opened(Environment(variables)) as found:
        yield found


@pytest.fixture
def window(job: JobFixture, variables: dict[str, str]) -> Iterator[Browser]:
    """A browser that has opened a page whose settings lead to the sandbox of the tests, with its key at hand."""
    config = Path(variables["XDG_CONFIG_HOME"]) / "batch" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'base_url = "{job.sandbox.url}"\nmax_per_second = 500.0\n')
    with opened(Environment(variables | job.sandbox.environment())) as found:
        assert found.open().status_code == 200
        yield found
