"""Where the limits of a key are kept, so that all who use it share them.

Promises: all processes of this user on this host share them by a file in the state folder, with nothing to set. Where
none can be made, the limits are this process's own, and a line says so; a store that was there and goes away never
comes to that. A Redis that was asked for is used, or nothing is sent: one that may still come is waited for, as one
that goes away later.
"""

from collections.abc import Callable

from batch.errors import StoppedError, UsageError
from batch.extras import ensure_extra
from batch.ratelimit import LimiterStore, MemoryStore, StoreLostError
from batch.run.locks import state_folder


def open_store(redis: str | None, note: Callable[[str], None]) -> LimiterStore:
    """Return the store that this job shares with others; `note` is told where it shares none.

    `redis` is the address of one that is asked for. It need not answer yet; raises UsageError where it will not until
    somebody changes something, and StoppedError where others keep the file locked that they use.
    """
    if redis is not None:
        ensure_extra("redis", "redis", "--limiter", note)
        from batch.ratelimit.redis_store import RedisStore  # few have it

        store = RedisStore(redis)
        try:
            store.check()
        except StoreLostError as error:
            if error.to_do:
                nothing = "Nothing is sent without the limits that all hosts share"
                raise UsageError(f"--limiter {error}. {nothing}.") from None
        return store
    from batch.ratelimit.sqlite_store import SqliteStore  # what needs no limits needs no SQLite

    try:
        return SqliteStore(state_folder)
    except StoreLostError as error:
        if error.is_in_use:
            raise StoppedError(f"{error}. Nothing is sent without the limits that other runs share.") from None
        note(f"The API's limits are kept for this process alone, and shared with no other run: {error}")
        return MemoryStore()
