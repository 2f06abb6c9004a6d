"""The limiter's state in a Redis (or what speaks its protocol) that processes on all hosts share.

Promises: the time is the server's, and never goes back for those who use a key, also where somebody sets the server's
clock back: the state and the records of a key go by one clock, which the server keeps with the state; a step takes
effect only on what it was made of (compare and swap by version, in a script: the policy itself is never run there); it
is known since when the server was neither started nor emptied; a pause is told to all processes as it is written, and
whoever cannot hear that starts nothing; the address is shown without its password; no key, id or value of a cell is
sent there, only keyed hashes.

The library's own calls wait, so they are made in a thread: a whole job also runs on trio.
"""

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import anyio
import redis
from anyio import to_thread
from pydantic_core import from_json, to_json

from batch.credentials import shown_redis
from batch.http.failures import is_lasting, why_not_connected
from batch.ratelimit.state import Answer, LimiterState, Step
from batch.ratelimit.store import (
    LEASE_SECONDS,
    WRITES_KEPT,
    LeasedRecord,
    Reach,
    RecordStep,
    StoreLostError,
)

PREFIX: Final = "batch:2:"
"""Begins the names of all keys: with the version of what is in them."""
ANSWER_SECONDS: Final = 2.0
"""Within which the server answers, or counts as lost."""
KEPT_SECONDS: Final = 7 * 86_400
BEGAN: Final = f"{PREFIX}began"
"""The key that the first who uses an empty server sets, with its time."""
SCRIPT: Final = """
if ARGV[1] ~= '' then
  if (redis.call('HGET', KEYS[1], 'version') or 'none') ~= ARGV[1] then return {0} end
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'value', ARGV[3])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  if ARGV[5] ~= '' then redis.call('PUBLISH', KEYS[1], ARGV[5]) end
  return {1}
end
local time = redis.call('TIME')
local reading = time[1] * 1000000 + time[2]
local base, last = string.match(redis.call('HGET', KEYS[2], 'clock') or '', '(%S+) (%S+)')
local now = math.max(reading + (base or 0), last or 0)
redis.call('HSET', KEYS[2], 'clock', string.format('%.0f %.0f', now - reading, now))
redis.call('EXPIRE', KEYS[2], ARGV[4])
if KEYS[3] then
  redis.call('SETNX', KEYS[3], time[1])
  local info = redis.pcall('INFO', 'server')
  info = type(info) == 'string' and info or ''
  local run = string.match(info, 'run_id:(%w+)') or ''
  if redis.call('HGET', KEYS[2], 'run') ~= run then
    local uptime = string.match(info, 'uptime_in_seconds:(%d+)') or time[1]
    local age = math.max(0, math.min(uptime, time[1] - redis.call('GET', KEYS[3])))
    redis.call('HSET', KEYS[2], 'run', run, 'began', string.format('%.0f', now - age * 1000000))
  end
end
local version, value, began = unpack(redis.call('HMGET', KEYS[1], 'version', 'value', 'began'))
return {1, now, version or '', value or '', tonumber(began) or 0}
"""
"""Keeps what was made of `version`; without one, returns what is kept, by the clock of the key.

A server whose `run_id` is another one was started anew: when, is counted once, since its clock may be set meanwhile.
"""
PUT_RIGHT: Final = "Put the address of --limiter right, or that server"
NONE: Final = "none"
"""The version of what is not there, as a script is told of it."""

Result = TypeVar("Result")
Change = Callable[[bytes, float, float], tuple[bytes, Any, str]]
"""Makes of what is kept, at the key's time, on a server that lost nothing since: what is kept, returned and told."""


class RedisStore:
    """The states and leases of a Redis; StoreLostError where it does not answer, which it may do later."""

    reach: Reach = "redis"

    def __init__(self, url: str, *, ahead: float = LEASE_SECONDS) -> None:
        """Take the address, which may hold a password."""
        self.ahead = ahead
        self._shown = shown_redis(url)
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, health_check_interval=0
        )
        self._script = self._client.register_script(SCRIPT)
        self._listener: Any = None
        self._revisions: dict[str, int] = {}
        self._offsets: dict[str, float] = {}
        self._began = -math.inf
        """When the server began, or was first used, on the clock of the key that is asked for at the moment."""
        self._rng = random.Random()  # noqa: S311 - so that those who lost a race do not meet again
        self._one_at_a_time = anyio.CapacityLimiter(1)

    def check(self) -> None:
        """See that the server answers; raises StoreLostError."""
        try:
            self._client.ping()
        except (redis.RedisError, OSError) as error:
            self.close()
            raise self._lost(error) from None

    # -- what `LimiterStore` promises ---------------------------------------------------------------------------

    def now(self, key: str) -> float:
        """Return the server's time: what it said last, and the time since, without what the answer took."""
        return time.monotonic() + self._offsets.get(key, 0.0)

    def revision(self, key: str) -> int:
        """Return the revision that the server told last: it tells each as it is written."""
        try:
            while self._listener is not None and (told := self._listener.get_message(timeout=0)) is not None:
                if told["type"] == "message":
                    self._revisions[told["channel"].decode()] = int(told["data"])
        except (redis.RedisError, OSError) as error:
            self.close()
            raise self._lost(error) from None
        return self._revisions.get(PREFIX + key, -1)

    def began(self, key: str) -> float:
        """Return when the server was started last, or first used since it was empty: by its own account."""
        return self._began

    async def transact(self, key: str, step: Step[Answer]) -> tuple[LimiterState, Answer]:
        """Run `step` on what the server has, until that is still the same when the outcome is written."""

        def change(raw: bytes, now: float, began: float) -> tuple[bytes, tuple[LimiterState, Answer], str]:
            self._began = began
            state, answer = step(LimiterState.from_json(from_json(raw)) if raw else None, now)
            return to_json(state.as_json()), (state, answer), str(state.revision)

        state, answer = await self._in_thread(self._listen_and_swap, key, change)
        self._revisions[PREFIX + key] = state.revision
        return state, answer

    async def on_records(self, key: str, steps: Sequence[tuple[str, RecordStep]]) -> list[Any]:
        """Run each step on what the server has of its record, all that come at once with the same round trips."""
        changes = [(f"{key}:{record}", _on_record(step)) for record, step in steps]
        return await self._in_thread(self._swap, key, changes)

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        listener, self._listener = self._listener, None
        with suppress(redis.RedisError, OSError):
            if listener is not None:
                listener.close()
            self._client.close()

    # -- the server ---------------------------------------------------------------------------------------------

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Ask the server in a thread, which is waited for also when it is not wanted any more."""
        try:
            return await to_thread.run_sync(function, *arguments, limiter=self._one_at_a_time)
        except (redis.RedisError, OSError) as error:
            self.close()
            raise self._lost(error) from None

    def _listen_and_swap(self, key: str, change: Change) -> Any:
        """Hear what others write from now on, and swap."""
        name = PREFIX + key
        if self._listener is None:
            listener = self._client.pubsub()
            listener.subscribe(name)
            if listener.get_message(timeout=ANSWER_SECONDS) is None:
                raise redis.ConnectionError("it does not answer")
            self._listener = listener
        (found,) = self._swap(key, [(key, change)])
        return found

    def _swap(self, key: str, changes: Sequence[tuple[str, Change]]) -> list[Any]:
        """Change what the server has under each name, by the clock of `key`; again where it was changed meanwhile."""
        found: list[Any] = [None] * len(changes)
        left = [*range(len(changes))]
        while True:
            began = time.monotonic()
            told = self._call([(_names(key, changes[n][0]), ("", "", "", KEPT_SECONDS, "")) for n in left])
            read_at, swaps = time.monotonic(), []
            for n, (_, now, version, raw, since) in zip(left, told, strict=True):
                name, change = changes[n]
                value, found[n], said = change(raw, now / 1e6, since / 1e6)
                self._offsets[key] = now / 1e6 - read_at
                seconds = KEPT_SECONDS if name == key else int(WRITES_KEPT)
                following = f"{self._rng.randrange(2**64):x}"
                swaps.append(([PREFIX + name], (version or NONE, following, value, seconds, said)))
            left = [n for n, done in zip(left, self._call(swaps), strict=True) if not done[0]]
            if not left:
                return found
            time.sleep(self._rng.uniform(0, 2 * (read_at - began)))

    def _call(self, calls: Sequence[tuple[list[str], tuple[Any, ...]]]) -> list[Any]:
        """Run the script with these keys and arguments, and return its answers; it travels once for all of them."""
        if len(calls) == 1:
            (names, arguments), *_ = calls
            return [self._script(keys=names, args=arguments)]
        with self._client.pipeline(transaction=False) as pipeline:
            for names, arguments in calls:
                self._script(keys=names, args=arguments, client=pipeline)
            return list(pipeline.execute())

    def _lost(self, error: Exception) -> StoreLostError:
        if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
            why = "it does not accept the user or password"
        elif isinstance(error, redis.TimeoutError):
            why = f"it does not answer within {ANSWER_SECONDS:g} s"
        elif isinstance(error, redis.exceptions.BusyLoadingError):
            why = "it is still loading its data"
        elif isinstance(error, redis.ConnectionError | OSError):
            why = why_not_connected(error)[1] if is_lasting(error) else "it cannot be reached"
        elif isinstance(error, redis.exceptions.ReadOnlyError):
            why = "it is a replica that cannot be written"
        elif isinstance(error, redis.InvalidResponse):
            why = "what answers there is no Redis"
        else:
            why = f"it refuses what it is asked ({type(error).__name__})"
        return StoreLostError(f"{self._shown}: {why}", to_do=PUT_RIGHT if _is_lasting(error) else "")


def _is_lasting(error: Exception) -> bool:
    """Return whether the server says the same until somebody changes something, here or there."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError | redis.InvalidResponse):
        return True
    return "DB index" in str(error) if isinstance(error, redis.ResponseError) else is_lasting(error)


def _names(key: str, name: str) -> list[str]:
    """Return what the script reads for a name of a key: for the key's own also when the server began."""
    return [PREFIX + name, PREFIX + key, *([BEGAN] if name == key else [])]


def _on_record(step: RecordStep) -> Change:
    """Return what runs a step on a record as the server keeps it."""

    def change(raw: bytes, now: float, began: float) -> tuple[bytes, Any, str]:
        one = LeasedRecord(*json.loads(raw)) if raw else LeasedRecord()
        found = step(one, now)
        return json.dumps([one.holder, one.epoch, one.until, one.writer, one.written]).encode(), found, ""

    return change
