"""Connections that fail at any byte, over real sockets; each run again until its end, by the sandbox's ledger."""

from collections.abc import Iterator
from itertools import product
from urllib.parse import urlsplit

import anyio
import pytest

from batch.engine import api_session
from batch.http import Session, Timeouts
from tests.resilience.judge import Score, judge
from tests.resilience.proxy import Kind, Proxy, Trouble, proxy_to
from tests.shell import DUALENTRY, VAYU, Api, Shell

ROWS, CONNECTIONS = 6, 3
KINDS: tuple[Kind, ...] = ("reset", "close", "half-close", "blackhole", "latency")
BYTES = (0, 1, 30, 150, 300, 420)


@pytest.fixture
def proxy(api: Api) -> Iterator[Proxy]:
    """A proxy before the sandbox."""
    port = urlsplit(api.url).port
    assert port is not None
    with proxy_to(port) as running:
        yield running


@pytest.fixture(params=["asyncio", "trio"], autouse=True)
def on_either_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes over asyncio (with uvloop, as in production), and as well over trio."""
    run = anyio.run
    if request.param == "trio":
        monkeypatch.setattr(anyio, "run", lambda function, *given, **_: run(function, *given, backend="trio"))


@pytest.fixture(autouse=True)
def is_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Timeouts(connect=1.0, read=0.3, total=5.0)
    monkeypatch.setattr(api_session, "Session", lambda url, **given: Session(url, **given | {"timeouts": patience}))


def attack(shell: Shell, api: Api, proxy: Proxy, troubles: list[Trouble], endpoint: str) -> Score:
    """Run once for each trouble, which several connections meet, and judge."""
    score = Score()
    for trouble in troubles:
        name = f"{trouble.kind}-{trouble.way}-{trouble.after}"
        sheet = shell.sheet(api.names(ROWS, endpoint), f"{name}.csv")
        options = ["--base-url", proxy.url, "--max-per-second", 2000, "--yes", "--max-at-once", 2]
        command = ["update", sheet, "-e", endpoint, *options]
        proxy.met = 0
        proxy.plan.extend([trouble] * CONNECTIONS)
        code = shell.here(*command).code
        proxy.plan.clear()
        score.tries += 1
        score.killed += proxy.met > 0
        if code not in (0, 3):
            score.untrue.append(f"{name}: exit {code}")
        judge(shell, api, command, sheet, score, name)
    return score


@pytest.mark.parametrize(
    ("endpoint", "troubles"),
    [
        (DUALENTRY, [Trouble("half-close", "down", 150), Trouble("blackhole", "down", 30)]),
        (VAYU, [Trouble("reset", "down", 0), Trouble("close", "up", 150)]),
    ],
    ids=["dualentry", "vayu"],
)
def test_some_troubles(shell: Shell, api: Api, proxy: Proxy, endpoint: str, troubles: list[Trouble]) -> None:
    """An answer that is reset, half closed, or never comes, and a request that is cut: nothing is lost or untrue."""
    score = attack(shell, api, proxy, troubles, endpoint)
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
    assert score.killed == score.tries


@pytest.mark.long
@pytest.mark.parametrize("endpoint", [DUALENTRY, VAYU])
def test_every_trouble(shell: Shell, api: Api, proxy: Proxy, endpoint: str) -> None:
    """The same for every kind, either direction, and many places."""
    troubles = [Trouble(kind, way, after) for kind, way, after in product(KINDS, ("up", "down"), BYTES)]
    score = attack(shell, api, proxy, troubles, endpoint)
    print(score.line(f"bad connections, {endpoint}"))  # noqa: T201 - the table of results
    assert ([], [], []) == (score.lost, score.untrue, score.twice)
    assert score.killed > 0.5 * score.tries
