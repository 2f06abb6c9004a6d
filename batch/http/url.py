"""Where requests may go, and how an id becomes part of a path.

A URL that is wrong here would send a secret in the clear, or change another record than the one in the row; both are
refused before anything is sent.
"""

import ipaddress
import re
import unicodedata
from urllib.parse import quote

import httpx

from batch.errors import CredentialError, SettingsError

# What urlsplit, browsers and servers disagree about: white space, control characters, backslashes.
_UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f-\x9f\\]")


def check_base_url(url: str, *, has_credentials: bool, allow_http: str | None = None) -> str:
    """Return `url` normalised, without a slash at its end; raise SettingsError or CredentialError if it will not do.

    `allow_http`: a host that may be sent credentials without encryption, as this machine itself may.
    """
    parsed = _parse(url.strip())
    if parsed.scheme not in ("http", "https"):
        raise SettingsError("the base URL must begin with https:// (write it like https://api.example.com)")
    if parsed.userinfo:
        raise SettingsError(
            "the base URL has a user name or password in it (leave it out; credentials are given separately)"
        )
    if parsed.query or parsed.fragment or url.rstrip().endswith(("?", "#")):
        raise SettingsError("the base URL has a ? or # part (leave out everything from there on)")
    if not parsed.host:
        raise SettingsError("the base URL names no host (write it like https://api.example.com)")
    if not is_exact(parsed.raw_path.decode("ascii").rstrip("/") or "/"):
        raise SettingsError("the base URL cannot be used with that path (write out the path, without . or .. or //)")
    normal = str(parsed).rstrip("/")
    if parsed.scheme == "http" and has_credentials and not (is_loopback(parsed.host) or parsed.host == allow_http):
        raise CredentialError(
            f'the base URL "{normal}" would send the credentials unencrypted '
            "(use https://; http:// is for this machine only, such as http://127.0.0.1:8080, and for one that "
            "--allow-http names)"
        )
    return normal


def _parse(url: str) -> httpx.URL:
    if _UNSAFE_IN_URL.search(url):
        raise SettingsError("the base URL has a space, a line break or a backslash in it (copy it again)")
    try:
        return httpx.URL(url)
    except httpx.InvalidURL:
        raise SettingsError(
            "the base URL cannot be read (write it like https://api.example.com)"
        ) from None  # it may quote a password


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine itself, by its name or number alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def encode_id(id: str) -> str:
    """Return `id` as one path segment; raise ValueError, in plain words, if it would not arrive as it is."""
    if id.isascii() and id.isalnum():
        return id  # nearly all of them
    if not id.strip():
        raise ValueError("the id is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in id):
        raise ValueError("the id has a line break or another invisible control character in it")
    # Many servers decode %2F before they fold dot segments: "7/../8" would change record 8.
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", id)):
        raise ValueError('the id has a part that is only "." or "..", which web addresses cannot carry')
    return quote(id, safe="")


# A path and query that no RFC 3986 normaliser would change: known characters, whole escapes, no empty or dot segment.
_TARGET = re.compile(r"(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@%]*)+(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# %2F and %5C count as slashes here, since many servers decode before they fold.
_FOLDS = re.compile(r"[^?]*?(?:/|%2f|%5c)(?:/|(?:\.|%2e){1,2}(?:/|%2f|%5c|\?|$))", re.IGNORECASE)


def is_exact(target: str) -> bool:
    """Tell whether a path and query leave, and are read, as they are meant by everybody on the way."""
    return bool(_TARGET.fullmatch(target)) and not _BROKEN_ESCAPE.search(target) and not _FOLDS.match(target)
