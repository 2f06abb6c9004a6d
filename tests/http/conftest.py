"""The event loops over which a run may go: asyncio's own, uvloop in its place, and trio."""

import pytest

LOOPS = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Run on each of them."""
    backend: tuple[str, dict[str, object]] = request.param
    return backend
