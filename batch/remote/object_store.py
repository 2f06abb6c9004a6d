"""Object stores (S3 and what speaks like it, Google Cloud Storage, Azure) by obstore: read, list, write, remove.

Keys come from the usual variables of each cloud, a file or a machine's own role as these name it, and from
`--storage-option`, by the names that obstore and polars have for them. obstore's functions wait on asyncio, as the jobs
of commands and library do.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from batch.addresses import STORAGE_OPTION, Address
from batch.errors import SettingsError
from batch.http import is_loopback
from batch.remote.failures import RemoteError, in_words

PREFIXES: Final = ("aws_", "azure_storage_", "azure_", "google_", "gcp_")
"""Of names of options, which may be left out."""
TIMES: Final = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "1d"}
"""The last is for a whole object, however large; the silence before it counts."""
RETRIES: Final = 4
PIECE: Final = 8 << 20
PARTS_AT_ONCE: Final = 4
CLIENT_OPTIONS: Final = (*TIMES, "proxy_url", "proxy_ca_certificate", "proxy_excludes", "user_agent")
"""Options that are not of a cloud but of the connection."""
NOT_OURS: Final = {
    "allow_http": "name the host instead, which alone is then reached without encryption:  --allow-http HOST",
    "allow_invalid_certificates": "name the certificate of your company's authority instead, in SSL_CERT_FILE",
    "allow_invalid_hostnames": "name the host that the certificate is for",
}
ENDPOINTS: Final = (
    "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT",
)  # fmt: skip
"""Variables that name the address of a service."""


@dataclass(frozen=True)
class StorageAccess:
    """What opens object stores, beside the variables of this process."""

    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_http: str | None = None
    """A host that may be reached without encryption, as this machine itself may."""

    def check(self) -> None:
        """Raise SettingsError for options that are not taken; no value of one is in it."""
        for name in self.options:
            if instead := NOT_OURS.get(_bare(name)):
                raise SettingsError(f"{STORAGE_OPTION} {name}: this is not taken. {instead[0].upper()}{instead[1:]}")

    @cached_property
    def client_options(self) -> dict[str, Any]:
        """What holds for connections."""
        given = {_bare(name): value for name, value in self.options.items()}
        options: dict[str, Any] = TIMES | {name: given[name] for name in CLIENT_OPTIONS if name in given}
        options |= {"allow_http": self._reaches_openly(), "allow_invalid_certificates": False}
        if roots := os.environ.get("SSL_CERT_FILE"):
            try:
                options["root_certificate"] = Path(roots).read_bytes()
            except OSError as error:
                raise SettingsError(f"SSL_CERT_FILE {roots}: it cannot be read ({error.strerror}).") from None
        return options

    @property
    def config(self) -> dict[str, str]:
        """What is of the cloud."""
        return {name: value for name, value in self.options.items() if _bare(name) not in CLIENT_OPTIONS}

    def _reaches_openly(self) -> bool:
        """Whether a service is reached without encryption; raises SettingsError where it must not be."""
        named = {name: os.environ.get(name, "") for name in ENDPOINTS}
        named |= {
            f"{STORAGE_OPTION} {name}": value
            for name, value in self.options.items()
            if any(part in name.lower() for part in ("endpoint", "base_url"))
        }
        is_open = False
        for name, value in named.items():
            if not value.lower().startswith("http://"):
                continue
            host = urlsplit(value).hostname or ""
            if not (is_loopback(host) or host == self.allow_http):
                raise SettingsError(
                    f"{name}: rows would go to {host} without encryption. Use https://, or permit it:  "
                    f"--allow-http {host}"
                )
            is_open = True
        return is_open


def _without_quotes(etag: str | None) -> str | None:
    """Return an ETag as lists of Azure have it, whose answers to reads have it in quotes."""
    return etag and etag.strip('"')


def _bare(name: str) -> str:
    name = name.lower()
    return next((name.removeprefix(one) for one in PREFIXES if name.startswith(one)), name)


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An object as it was listed."""

    key: str
    size: int
    etag: str | None


class ObjectStore:
    """The bucket of an address. All that goes wrong there is a RemoteError, but for settings: SettingsError."""

    def __init__(self, address: Address, access: StorageAccess) -> None:
        """Open it; nothing is asked of it yet. obstore must be installed."""
        access.check()
        self.address = address
        self._store = _open(address, access)

    async def read(self, key: str) -> tuple[RemoteObject, AsyncIterator[bytes]]:
        """Return what an object is, and its bytes as they come."""
        import obstore  # an extra

        async with self._in_words(key, "read"):
            found = await obstore.get_async(self._store, key)
            meta = found.meta
        return RemoteObject(key, meta["size"], _without_quotes(meta["e_tag"])), self._iter_pieces(key, found)

    async def _iter_pieces(self, key: str, found: Any) -> AsyncIterator[bytes]:
        async with self._in_words(key, "read"):
            async for piece in found.stream(min_chunk_size=PIECE):
                yield bytes(piece)

    async def list(self, prefix: str) -> AsyncIterator[RemoteObject]:
        """Yield all objects below a folder."""
        import obstore  # an extra

        async with self._in_words(prefix, "listed"):
            async for page in obstore.list(self._store, prefix.rstrip("/") or None):
                for one in page:
                    yield RemoteObject(one["path"], one["size"], _without_quotes(one["e_tag"]))

    async def write(self, key: str, content: Path | bytes) -> None:
        """Write an object from a file or bytes; an object of that name is replaced, at once and whole."""
        import obstore  # an extra

        async with self._in_words(key, "written"):
            await obstore.put_async(self._store, key, content, chunk_size=PIECE, max_concurrency=PARTS_AT_ONCE)

    async def remove(self, key: str) -> None:
        """Remove an object, which may not be there."""
        import obstore  # an extra

        async with self._in_words(key, "removed"):
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError:
                return

    @asynccontextmanager
    async def _in_words(self, key: str, doing: str) -> AsyncIterator[None]:
        said: RemoteError | None = None
        try:
            yield
        except (RemoteError, GeneratorExit):
            raise
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise  # of this machine's disk
            said = in_words(error, self.at(key), doing)
        if said is not None:  # outside of the handler, since obstore's text may have keys in it
            raise said

    def at(self, key: str) -> Address:
        """Return the address of an object."""
        return Address(f"{self.address.store}/{key}", f"{self.address.store}/{key}")


def _open(address: Address, access: StorageAccess) -> Any:
    from obstore import store  # an extra

    from_url: Any = store.from_url  # its types know each cloud's options by name

    wrong: str = ""
    try:
        return from_url(
            address.store, config=access.config, client_options=access.client_options,
            retry_config={"max_retries": RETRIES},
        )  # fmt: skip
    except SettingsError:
        raise
    except Exception as error:
        wrong = _wrong_option(str(error), access)
        if not wrong:
            raise in_words(error, address, "opened") from None
    raise SettingsError(wrong)


def _wrong_option(said: str, access: StorageAccess) -> str:
    """Say which option makes no sense, without its value; "" where it is something else."""
    for name in access.options:
        if f"'{name}'" in said and "key" in said.lower():
            return f"{STORAGE_OPTION} {name}: there is no such option. Those of obstore and polars are taken."
    if "Duplicate key" in said:
        return f"{STORAGE_OPTION}: one option is given twice, under two names."
    if "Config error" in said or "failed to parse" in said:
        return f"{STORAGE_OPTION}: the value of {', '.join(access.options) or 'a variable'} makes no sense."
    return ""
