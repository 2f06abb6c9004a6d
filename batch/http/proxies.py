"""The proxy between here and the API, as HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name it.

Promises: it is looked up once for a session, not for every request; this machine itself is never reached through one;
its credentials are never shown.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import httpx

from batch.errors import SettingsError
from batch.http.url import is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's address without its credentials, and what opens it."""

    url: httpx.URL
    authorization: bytes = field(default=b"", repr=False)
    """The line that carries the credentials, empty without any."""


def find_proxy(target: httpx.URL) -> Proxy | None:
    """Return the proxy to use for `target`, None to go straight; SettingsError if it cannot be used."""
    if is_loopback(target.host):
        return None
    found = getproxies()
    address = found.get(target.scheme) or found.get("all")
    host_and_port = target.host if target.port is None else f"{target.host}:{target.port}"
    if not address or proxy_bypass(host_and_port):
        return None
    variable = f"{target.scheme.upper()}_PROXY" if target.scheme in found else "ALL_PROXY"
    return _read_proxy(address if "://" in address else f"http://{address}", variable)


def _read_proxy(address: str, variable: str) -> Proxy:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        raise SettingsError(
            f"{variable} cannot be read (write it like http://proxy.example.com:3128)"
        ) from None  # it may quote a password
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"{variable} names a kind of proxy that is not supported (http:// and https:// ones are)")
    authorization = b""
    if url.userinfo:
        user, _, password = url.userinfo.partition(b":")
        pair = f"{unquote(user.decode('ascii'))}:{unquote(password.decode('ascii'))}"
        authorization = b"Proxy-Authorization: Basic " + b64encode(pair.encode()) + b"\r\n"
    return Proxy(url.copy_with(userinfo=b"", path="/"), authorization)
