"""Credentials: where they are read, how they are kept from showing, and the one name for whose they are.

Promises: a credential comes from the environment or a token file only; it is taken out of whatever a server echoes;
what is written down or shown is a fingerprint or its last four characters, never the credential.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, urlsplit

from batch.errors import CredentialError


def read_credentials(
    names: Mapping[str, bool], token_file: Path | None, environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Collect credentials by variable name (`names`: whether each is required), with warnings about their keeping.

    A token file holds `NAME=value` lines, or nothing but the value of the first name. Raises CredentialError.
    """
    found = {name: environment[name].strip() for name in names if environment.get(name, "").strip()}
    warnings: list[str] = []
    if token_file is not None:
        found |= _read_token_file(token_file, list(names), warnings)
    missing = [name for name, is_required in names.items() if is_required and name not in found]
    if missing:
        raise CredentialError(
            f"No credential: set the environment variable {missing[0]}, or name a file that holds it (--token-file).\n"
            "To try things out without one:  --sandbox"
        )
    for name, value in found.items():
        if not _CREDENTIAL.fullmatch(value):
            raise CredentialError(
                f"{name}: it has a space, a line break or a character outside of plain ASCII in it. Copy it again."
            )
    return found, warnings


_CREDENTIAL = re.compile(r"[\x21-\x7e]+")  # what a header can carry


def _read_token_file(path: Path, names: Sequence[str], warnings: list[str]) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        mode = path.stat().st_mode
    except OSError as error:
        raise CredentialError(f"--token-file {path}: {(error.strerror or 'it cannot be read').lower()}.") from None
    except UnicodeDecodeError:
        raise CredentialError(f"--token-file {path}: it is not a text file.") from None
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        warnings.append(f"{path} can be read by other users of this machine. Close it:  chmod 600 {path}")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    pairs = dict(line.partition("=")[::2] for line in lines if line.partition("=")[0].strip() in names)
    if pairs:
        values = {name.strip(): value.strip().strip("\"'") for name, value in pairs.items()}
        return {name: value for name, value in values.items() if value}
    if len(lines) != 1:
        raise CredentialError(f"--token-file {path}: it should hold the token alone, or lines such as {names[0]}=….")
    return {names[0]: lines[0]}


def shown_credential(credentials: Mapping[str, str]) -> str:
    """Return the first credential as it may be shown: its last four characters, where that leaves enough unsaid."""
    first = next(iter(credentials.values()), "")
    return f"…{first[-4:]}" if len(first) >= 12 else "…"


def fingerprint(base_url: str, credentials: Mapping[str, str]) -> str:
    """Return a name for origin and credentials that gives neither away."""
    text = "\0".join([urlsplit(base_url).netloc, *credentials.values()])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


MIN_SECRET = 8
"""Characters; what is shorter opens nothing, and could be part of anything."""
REDACTED = b"(the key)"


def without_secrets(body: bytes, secrets: Iterable[str]) -> bytes:
    """Take out credentials that a server echoes, also those spelt as JSON or URLs may spell them."""
    for secret in secrets:
        for spelling in _spellings(secret) if secret else ():
            body = body.replace(spelling, REDACTED)
    return body


@lru_cache(maxsize=8)  # there are one or two
def _spellings(secret: str) -> tuple[bytes, ...]:
    bare = secret.rpartition(" ")[2]  # "Bearer …"
    if len(bare) < MIN_SECRET:
        return ()
    return tuple(one.encode() for one in {bare, bare.replace("/", "\\/"), quote(bare, safe="")})
