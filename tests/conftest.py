"""What all tests share: an environment that is nobody's, and one sandbox for the end-to-end tests."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from batch.engine import write
from batch.sandbox.options import SandboxOptions
from tests.job_fixture import job, shared_sandbox
from tests.sandbox.control import ControlledSandbox, fork_process
from tests.shell import Api, Shell
from tests.starts import stretch_less

__all__ = ["job", "shared_sandbox"]

settings.register_profile("tests", settings.default, deadline=None)  # how long it takes, the machine decides
settings.load_profile("tests")
CREDENTIALS = ("DUALENTRY_API_KEY", "VAYU_API_TOKEN", "VAYU_CLIENT_ID")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the check of the types, which is one long test, so that nobody waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_style.py")


def pytest_collection_finish() -> None:
    """Look for garbage among what tests make, not among the tests themselves, and no more often than the program."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep credentials, settings and the state of whoever runs the tests out of them."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also under nohup, whose wish the program would heed
    with pytest.MonkeyPatch.context() as patch:
        for name in [*CREDENTIALS, *(name for name in os.environ if name.startswith("BATCH_"))]:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("XDG_CONFIG_HOME", raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setattr("batch.sandbox.process.start_process", fork_process)
        stretch_less()
        yield


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Look at records without a pause, but in tests of how long that may take (marked `looks`)."""
    if request.node.get_closest_marker("looks") is None:
        monkeypatch.setattr(write, "LOOKS", (0.0,) * len(write.LOOKS))


@pytest.fixture(scope="session")
def session_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlledSandbox]:
    """One sandbox over real sockets, with its limits off, for all end-to-end tests."""
    ledger = tmp_path_factory.mktemp("sandbox") / "ledger.jsonl"
    with ControlledSandbox(SandboxOptions(records=100_000, limits="off", ledger=ledger)) as sandbox:
        yield sandbox


@pytest.fixture
def api(session_sandbox: ControlledSandbox) -> Iterator[Api]:
    """The shared sandbox, without faults before and after."""
    session_sandbox.set_faults()
    yield Api(session_sandbox)
    session_sandbox.set_faults()


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Shell]:
    """A shell without credentials."""
    folder = tmp_path / "work"
    folder.mkdir()
    made = Shell(folder)
    yield made
    made.end_all()


@pytest.fixture
def shell(offline: Shell, session_sandbox: ControlledSandbox) -> Shell:
    """A shell with the credentials of the shared sandbox."""
    offline.environment |= session_sandbox.environment()
    return offline
