"""The store that processes on all hosts share: the conformance suite over a real redis-server, and its absence."""

import math
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from batch.ratelimit import LimiterStore, StoreLostError
from tests.ratelimit.store_conformance import StoreConformance, refuse, seen
from tests.redis_server import RedisServer, require_redis, set_back

PASSWORD = "a-password-for-tests"  # noqa: S105 - of a server that this test starts


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on both event loops, in real time."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require_redis()
    one = RedisServer(tmp_path_factory.mktemp("redis"))
    one.start()
    yield one
    one.kill()


class TestRedisStore(StoreConformance):
    """The store of all hosts."""

    @pytest.fixture(autouse=True)
    def empty(self, server: RedisServer) -> Iterator[None]:
        import redis

        self.url, self.made = server.url, list[LimiterStore]()
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        yield
        for store in self.made:
            store.close()

    def make(self) -> LimiterStore:
        from batch.ratelimit.redis_store import RedisStore

        self.made.append(RedisStore(self.url))
        return self.made[-1]

    def beside(self, store: LimiterStore) -> LimiterStore:
        return self.make()

    def set_back(self, seconds: float) -> None:
        set_back(self.url, seconds)

    async def test_two_see_the_same(self) -> None:
        """What one host books another one sees, and hears of a pause as it is written."""
        one, other = self.make(), self.make()
        await refuse(one, "key")
        await refuse(other, "key")
        before = one.revision("key")
        await refuse(other, "key", {"Retry-After": "60"})
        await anyio.sleep(0.05)
        assert (before + 1, await seen(one, "key")) == (one.revision("key"), await seen(other, "key"))

    async def test_emptied_server_is_known_to_be_empty(self) -> None:
        """A server that was emptied, however long it runs, says so to whoever comes first, and to all others."""
        one, other = self.make(), self.make()
        for store in (one, other):
            await refuse(store, "key")
            assert 0 <= store.now("key") - store.began("key") < 3

    async def test_server_that_runs_for_long_has_lost_nothing(self) -> None:
        """What a server remembers of its first user holds as long as it was not started anew since."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            started = int(client.time()[0]) - int(client.info("server")["uptime_in_seconds"])
            client.set("batch:2:began", started - 500)
        store = self.make()
        await refuse(store, "key")
        assert -1 <= store.began("key") - started <= 1

    @pytest.mark.parametrize("is_known", [True, False])
    async def test_server_whose_clock_was_set_back_did_not_begin_in_the_future(self, is_known: bool) -> None:
        """However far it is set back, the server began when it did, so that nobody waits for that moment."""
        import redis

        store, before = self.make(), math.inf
        if is_known:
            await refuse(store, "key")
            before = store.began("key")
            self.set_back(3600)
        else:
            with redis.Redis.from_url(self.url) as client:
                client.set("batch:2:began", int(client.time()[0]) + 3000)
        await refuse(store, "key")
        assert store.began("key") <= min(before, store.now("key"))

    async def test_clock_is_the_server_s(self) -> None:
        """What is known here of the server's time is never ahead of it, and a few milliseconds behind at most."""
        import redis

        store = self.make()
        await refuse(store, "key")
        with redis.Redis.from_url(self.url) as client:
            here = store.now("key")
            seconds, micros = client.time()
        assert 0 <= seconds + micros / 1e6 - here < 0.5


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    require_redis()
    one = RedisServer(tmp_path, "--requirepass", PASSWORD)
    one.start()
    yield one
    one.kill()


@pytest.mark.anyio
async def test_server_that_goes_away_and_comes_back(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its server nothing is granted, and the reason is told without the password; then it goes on."""
    from batch.ratelimit import redis_store

    monkeypatch.setattr(redis_store, "ANSWER_SECONDS", 0.3)
    address = f"redis://…@127.0.0.1:{own_server.port}/0"
    store = redis_store.RedisStore(f"redis://:{PASSWORD}@127.0.0.1:{own_server.port}/0")
    assert await refuse(store, "key") == 1
    own_server.freeze()
    with pytest.raises(StoreLostError, match=rf"^{address}: it does not answer within 0.3 s$"):
        await refuse(store, "key")
    own_server.thaw()
    count = await refuse(store, "key")  # the server may have taken the step that nobody waited for
    own_server.kill()
    with pytest.raises(StoreLostError, match=rf"^{address}: it cannot be reached$"):
        store.revision("key")
    with pytest.raises(StoreLostError, match=rf"^{address}: it cannot be reached$"):
        await refuse(store, "key")
    own_server.start()
    assert (count in (2, 3), await refuse(store, "key")) == (True, 1)
    store.close()


@pytest.mark.anyio
async def test_server_that_was_started_anew_with_what_it_had(own_server: RedisServer) -> None:
    """It may have lost what was written last, so it tells when it was started; what it kept goes on."""
    import redis

    from batch.ratelimit.redis_store import RedisStore

    url = f"redis://:{PASSWORD}@127.0.0.1:{own_server.port}/0"
    store = RedisStore(url)
    await refuse(store, "key")
    with redis.Redis.from_url(url) as client:
        client.set("batch:2:began", 1_000_000_000)
        client.hincrby("batch:2:key", "began", -500_000_000)
        await refuse(store, "key")
        assert store.now("key") - store.began("key") > 499
        client.save()
    own_server.kill()
    own_server.start()
    store.close()
    assert await refuse(store, "key") == 3
    assert store.now("key") - store.began("key") < 5
    store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["", ":wrong-password@", "nobody:wrong-password@"])
async def test_wrong_password_is_not_shown(own_server: RedisServer, given: str) -> None:
    """A server that does not accept what the address holds is told of, without that."""
    from batch.ratelimit.redis_store import RedisStore

    with pytest.raises(StoreLostError) as raised:
        RedisStore(f"redis://{given}127.0.0.1:{own_server.port}/0").check()
    shown = "…@" if given else ""
    assert str(raised.value) == f"redis://{shown}127.0.0.1:{own_server.port}/0: it does not accept the user or password"
