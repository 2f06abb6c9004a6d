"""Who we are at Vayu: an API token buys an access token, which lasts an hour.

Promises: one log-in for all workers, in time before the token ends, and once on a 401; the tokens never show.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from batch.endpoints.base import Send
from batch.errors import StoppedError
from batch.http import ApiRequest, RequestFailure

RENEW_BEFORE = 300.0
"""Seconds before the token's end at which we log in again (README.md)."""
DEFAULT_LIFE = 3600.0


class VayuAccount:
    """Logs in once for all workers: at the start, 5 minutes before the token ends, and once on a 401."""

    def __init__(self, refresh_token: str, client_id: str, clock: Callable[[], float]) -> None:
        self._refresh_token = refresh_token
        self._client_id = client_id
        self._clock = clock
        self._lock = anyio.Lock()
        self._token = ""
        self._renew_at = 0.0

    def __repr__(self) -> str:
        return "VayuAccount(…)"

    async def headers(self, send: Send) -> Mapping[str, str]:
        """Give the Bearer header, logging in first when there is no token or it ends soon."""
        if self._clock() >= self._renew_at:
            async with self._lock:
                if self._clock() >= self._renew_at:
                    await self._log_in(send)
        return self._headers()

    async def renew(self, send: Send, refused: Mapping[str, str]) -> bool:
        """Log in again unless somebody already did since `refused` was given out."""
        async with self._lock:
            if refused.get("Authorization") == self._headers()["Authorization"]:
                await self._log_in(send)
        return refused.get("Authorization") != self._headers()["Authorization"]

    def _headers(self) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._token}"}
        return headers | ({"x-api-key": self._client_id} if self._client_id else {})

    async def _log_in(self, send: Send) -> None:
        content = json.dumps({"refreshToken": self._refresh_token}).encode()
        request = ApiRequest("POST", "/login", "POST login", content=content, secret=self._refresh_token)
        response = await send(request)
        if isinstance(response, RequestFailure):
            raise StoppedError(f"Logging in to Vayu did not work: {response.cause}.")
        data: Any = response.json
        token = data.get("accessToken") if isinstance(data, Mapping) else None
        if response.status in (400, 401, 403):
            raise StoppedError("Vayu refused the API token (VAYU_API_TOKEN). Make a new one in its dashboard.")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise StoppedError(f"Logging in to Vayu did not work: it answered {response.status} without a token.")
        self._token = token
        now = self._clock()
        life = life_left(token, now)
        # a token that lives shorter than the margin must not send every request to the log-in
        self._renew_at = now + max(life - RENEW_BEFORE, 0.5 * life, 1.0)


def life_left(token: str, now: float) -> float:
    """Read how many seconds a JWT lives on; an unreadable one is taken to live an hour (README.md).

    `exp` is believed as far as it goes with `iat`, or with that hour: this machine's clock may be wrong.
    """
    try:
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        end = float(claims["exp"])
        whole = end - float(claims["iat"]) if "iat" in claims else DEFAULT_LIFE
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return DEFAULT_LIFE
    if not (math.isfinite(whole) and whole > 0):
        whole = DEFAULT_LIFE
    return end - now if 0 < end - now <= whole else whole
