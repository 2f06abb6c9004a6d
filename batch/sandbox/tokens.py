"""Access tokens in the shape of a JWT, with a true `exp`; nobody but the sandbox needs to verify them."""

import base64
import hashlib
import hmac
import json
import math
import secrets
from typing import Any


class Tokens:
    """Issues tokens that are good for `lifetime` seconds, rounded up to whole ones."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._secret = secrets.token_bytes(32)
        self._expiry: dict[str, int] = {}

    def issue(self, now: float) -> str:
        """Make a token; `now` in epoch seconds."""
        self._expiry = {token: expiry for token, expiry in self._expiry.items() if expiry > now}
        expiry = math.ceil(now + self._lifetime)
        claims = {"sub": "sandbox", "iat": int(now), "exp": expiry, "jti": secrets.token_hex(8)}
        signed = _encoded({"alg": "HS256", "typ": "JWT"}) + b"." + _encoded(claims)
        signature = hmac.digest(self._secret, signed, hashlib.sha256)
        token = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
        self._expiry[token] = expiry
        return token

    def is_good(self, token: str, now: float) -> bool:
        """Whether the token was issued here and has not expired."""
        return self._expiry.get(token, 0) > now

    def expire_all(self) -> None:
        """Make every token issued so far worthless."""
        self._expiry.clear()


def _encoded(part: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
