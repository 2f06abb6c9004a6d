"""Credentials that are fetched anew where the API does not accept them any more: by a token command, or a function.

Promises: they are fetched once for all workers, and only where nothing else helps; what was fetched and is the same, or
cannot be fetched, leaves the refusal as it is.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import anyio
from anyio import to_thread

from batch.credentials import check_credential
from batch.endpoints.base import Account, Send
from batch.errors import CredentialError, StopCause, StoppedError

T = TypeVar("T")


class RenewedAccount:
    """An account that is made anew of other credentials."""

    def __init__(
        self,
        make: Callable[[Mapping[str, str]], Account],
        credentials: Mapping[str, str],
        fetch: Callable[[], Mapping[str, str]],
        *,
        in_thread: bool = True,
    ) -> None:
        self._make, self._credentials, self._fetch, self._in_thread = make, dict(credentials), fetch, in_thread
        self._account = make(credentials)
        self._lock = anyio.Lock()

    def __repr__(self) -> str:
        return "RenewedAccount(…)"

    async def headers(self, send: Send) -> Mapping[str, str]:
        """Give the headers, with other credentials where a log-in is refused."""
        account = self._account
        try:
            return await account.headers(send)
        except StoppedError as error:
            if error.cause is not StopCause.CREDENTIALS or not await self._fetch_others(account):
                raise
        return await self._account.headers(send)

    async def renew(self, send: Send, refused: Mapping[str, str]) -> bool:
        """Try what the account itself can, then other credentials."""
        account = self._account
        try:
            if await account.renew(send, refused):
                return True
        except StoppedError as error:
            if error.cause is not StopCause.CREDENTIALS or not await self._fetch_others(account):
                raise
            return True
        return await self._fetch_others(account)

    async def _fetch_others(self, refused: Account) -> bool:
        """Fetch credentials unless somebody did since `refused` was the account; false where they are the same."""
        async with self._lock:
            if self._account is not refused:
                return True
            try:
                found = await (to_thread.run_sync(self._fetch) if self._in_thread else _called(self._fetch))
                for name, value in found.items():
                    check_credential(name, value)
            except CredentialError:
                return False
            if dict(found) == self._credentials:
                return False
            self._credentials = dict(found)
            self._account = self._make(found)
            return True


async def _called(function: Callable[[], T]) -> T:
    return function()
