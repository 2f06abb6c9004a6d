"""Credentials: where they are read, how they are kept from showing, and the one name for whose they are.

Promises: a credential comes from the environment, a token file or a login only; it is taken out of whatever a server
echoes; what is written down or shown is a fingerprint or its last four characters, never the credential.
"""

import base64
import hashlib
import hmac
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batch.errors import CredentialError
from batch.files import os_reason


def read_credentials(
    names: Mapping[str, bool], token_file: Path | None, token_command: str | None, environment: Mapping[str, str],
    log_in: str,
) -> tuple[dict[str, str], list[str]]:  # fmt: skip
    """Collect credentials by variable name (`names`: whether each is required), with warnings about their keeping.

    A token file, and what a token command prints, holds `NAME=value` lines, or nothing but the value of the first name.
    A variable `NAME_FILE` names a file with the value of NAME. Raises CredentialError, which names the command `log_in`
    where there is none.
    """
    warnings: list[str] = []
    found = _read_variables(list(names), environment, warnings)
    if token_file is not None:
        found |= _read_token_file(token_file, list(names), warnings)
    if token_command is not None:
        found |= run_token_command(token_command, list(names))
    missing = [name for name, is_required in names.items() if is_required and name not in found]
    if missing:
        raise CredentialError(
            f"There is no key yet. To set one up:  {log_in}\n"
            f"(Or set the environment variable {missing[0]}, or name a file that holds it: --token-file.)\n"
            "To try things out without one:  --sandbox"
        )
    for name, value in found.items():
        check_credential(name, value)
    return found, warnings


def check_credential(name: str, value: str) -> None:
    """Raise CredentialError where no header can carry a credential."""
    if not _CREDENTIAL.fullmatch(value):
        raise CredentialError(
            f"{name}: it has a space, a line break or a character outside of plain ASCII in it. Copy it again."
        )


_CREDENTIAL = re.compile(r"[\x21-\x7e]+")  # what a header can carry


FILE_SUFFIX = "_FILE"
"""Ends the name of a variable that names a file with the value, as mounted secrets have it."""


def has_variable(name: str, environment: Mapping[str, str]) -> bool:
    """Whether a credential is given by a variable: its value, or a file with it."""
    return any(environment.get(one, "").strip() for one in (name, name + FILE_SUFFIX))


def _read_variables(names: Sequence[str], environment: Mapping[str, str], warnings: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        value, file = environment.get(name, "").strip(), environment.get(name + FILE_SUFFIX, "").strip()
        if value and file:
            raise CredentialError(
                f"{name} and {name}{FILE_SUFFIX} are both set, and one of them counts. Unset the other."
            )
        if file:
            value = _read_file(Path(file), f"{name}{FILE_SUFFIX} {file}", warnings).strip()
            if not value:
                raise CredentialError(f"{name}{FILE_SUFFIX} {file}: it is empty.")
        if value:
            found[name] = value
    return found


def _read_file(path: Path, where: str, warnings: list[str]) -> str:
    """Read a file with a secret; warn where others may read it, but for a group that is this process's own."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = path.stat()
    except OSError as error:
        raise CredentialError(f"{where}: {os_reason(error).lower()}.") from None
    except UnicodeDecodeError:
        raise CredentialError(f"{where}: it is not a text file.") from None
    if os.name == "posix":
        is_own_group = found.st_gid in {os.getegid(), *os.getgroups()} and found.st_uid != os.geteuid()
        others = stat.S_IROTH | (0 if is_own_group else stat.S_IRGRP)
        if found.st_mode & others:
            warnings.append(f"{path} can be read by other users of this machine. Close it:  chmod 600 {path}")
    return text


COMMAND_SECONDS = 60.0


def run_token_command(command: str, names: Sequence[str]) -> dict[str, str]:
    """Run a command, without a shell, and read the credentials that it prints; nothing of that is ever shown."""
    option = "--token-command"
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CredentialError(f"{option}: it cannot be split into words ({error}).") from None
    if not words:
        raise CredentialError(f"{option}: it names no program.")
    try:
        done = subprocess.run(  # noqa: S603 - that is what was asked for, without a shell
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
        text = done.stdout.decode("utf-8")
    except OSError as error:
        raise CredentialError(f"{option}: {words[0]} cannot be run ({os_reason(error).lower()}).") from None
    except subprocess.TimeoutExpired:
        raise CredentialError(f"{option}: {words[0]} did not end within {COMMAND_SECONDS:.0f} s.") from None
    except UnicodeDecodeError:
        raise CredentialError(f"{option}: {words[0]} printed something that is no text.") from None
    if done.returncode:
        raise CredentialError(f"{option}: {words[0]} ended with exit code {done.returncode}. Try it in a terminal.")
    return parse_credentials(text, names, f"{option}: what {words[0]} printed")


def _read_token_file(path: Path, names: Sequence[str], warnings: list[str]) -> dict[str, str]:
    where = f"--token-file {path}"
    return parse_credentials(_read_file(path, where, warnings), names, f"{where}: it")


def parse_credentials(text: str, names: Sequence[str], what: str) -> dict[str, str]:
    """Read the text of a token file: `NAME=value` lines, or nothing but the value of the first name.

    Raises CredentialError, which calls the text `what` and repeats nothing of it.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    pairs = dict(line.partition("=")[::2] for line in lines if line.partition("=")[0].strip() in names)
    if pairs:
        values = {name.strip(): value.strip().strip("\"'") for name, value in pairs.items()}
        return {name: value for name, value in values.items() if value}
    if len(lines) != 1:
        raise CredentialError(f"{what} should hold the token alone, or lines such as {names[0]}=….")
    return {names[0]: lines[0]}


def shown_credential(credentials: Mapping[str, str]) -> str:
    """Return the first credential as it may be shown: its last four characters, where that leaves enough unsaid."""
    first = next(iter(credentials.values()), "")
    return f"…{first[-4:]}" if len(first) >= 12 else "…"


def is_redis(url: str) -> bool:
    """Tell whether a text is the address of a Redis."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def shown_redis(url: str) -> str:
    """Return the address of a Redis as it may be shown: "…" stands for what opens it."""
    parts = urlsplit(url)
    opened, _, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'…@' if opened else ''}{host}{parts.path.rstrip('/')}"


def fingerprint(base_url: str, credential: str, label: str) -> str:
    """Return a name for a credential at an origin that gives neither away, another one for each use (`label`).

    It is the one way in which anything of a credential is stored. Without a credential it stands for the origin.
    """
    url = urlsplit(base_url)
    stretched = _stretched(f"{url.scheme}://{url.netloc}".lower(), credential)
    return hmac.digest(stretched, label.encode(), "sha256").hex()[:32]


STRETCHES = 2**14
"""What scrypt calls N: a name of a credential takes 50 ms, so that nobody tries out credentials in a hurry."""


@lru_cache(maxsize=8)  # once a process
def _stretched(origin: str, credential: str) -> bytes:
    salt = f"batch/1|{origin}".encode()
    return hashlib.scrypt(credential.encode(), salt=salt, n=STRETCHES, r=8, p=1, maxmem=2**26)


@dataclass(frozen=True, slots=True)
class Company:
    """Whose run it is: the fingerprint of the key, and the name that was given with --company."""

    fingerprint: str
    """Of the required credential; "" in runs of 0.1, of which nobody knows."""
    name: str | None = None

    def is_same(self, other: "Company") -> bool:
        """Compare by the names where both have one, else by the fingerprints."""
        if self.name and other.name:
            return self.name == other.name
        return bool(self.fingerprint) and self.fingerprint == other.fingerprint


MIN_SECRET = 8
"""Characters; what is shorter opens nothing, and could be part of anything."""
REDACTED = "(the key)"
REDACTED_NAME = "(the client id)"
_HIDDEN = re.compile(f"{re.escape(REDACTED)}|{re.escape(REDACTED_NAME)}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/_-]|\\/|%2[BF]|%5F)*(?:=|%3D)*", re.IGNORECASE)
_BASE64_REVERSED = re.compile(r"(?:[A-Za-z0-9+/_-]|/\\|[BF]2%|F5%)*", re.IGNORECASE)
_FARTHEST = 4096
"""Characters around an encoded secret that are taken out with it."""


class Redaction:
    """Takes out of texts the secrets that were sent so far, however a server spells them.

    For what is shown and written to files, and never for what goes back to the API: records are not passed through it.
    """

    def __init__(self, account_names: Iterable[str] = ()) -> None:
        """Take values that go with requests beside the secrets and are none: they are hidden in echoed headers only."""
        self._names = frozenset(filter(None, account_names))
        self._secrets: dict[str, None] = {}
        self._headers: dict[tuple[str, str], None] = {}

    def __repr__(self) -> str:
        return "Redaction(…)"

    def add_secret(self, value: str) -> None:
        """Hide `value` from now on: a credential in a body."""
        if value:
            self._secrets[value.rpartition(" ")[2]] = None  # "Bearer …"

    def add_header(self, name: str, value: str) -> None:
        """Hide the value of a header from now on; one that is an account name in such headers only."""
        if value in self._names:
            self._headers[name, value] = None
        else:
            self.add_secret(value)

    def hide(self, text: str) -> str:
        """Return `text` without the secrets."""
        for secret in self._secrets:
            text = _without_secret(text, secret) if len(secret) >= MIN_SECRET else text
        for name, value in self._headers:
            text = _header_pattern(name, value).sub(rf"\g<1>{REDACTED_NAME}", text)
        return text

    def hide_in_body(self, body: bytes) -> bytes:
        """Return a body without the secrets; JSON stays JSON."""
        return self.hide(body.decode("latin-1")).encode("latin-1") if body else body


def hidden_texts(value: Any, hide: Callable[[str], str]) -> dict[str, str]:
    """Return what `hide` makes of the texts in a value that have a secret in them, each by its digest.

    So that they can be shown without it later, when nobody knows the secret.
    """
    match value:
        case str():
            shown = hide(value)
            return {} if shown == value else {_digest(value): shown}
        case Mapping():
            return hidden_texts(list(value.values()), hide)
        case list() | tuple():
            found = dict[str, str]()
            for one in value:
                found |= hidden_texts(one, hide)
            return found
    return {}


def hide_known(hidden: Mapping[str, str]) -> Callable[[str], str]:
    """Return what hides parts of these texts; a file may say what is hidden, and never shows another text that way."""

    def hide(text: str) -> str:
        shown = hidden.get(_digest(text))
        return shown if isinstance(shown, str) and _is_part_of(shown, text) else text

    return hide if hidden else str


def _is_part_of(shown: str, text: str) -> bool:
    """Whether `shown` is a text in which something was hidden."""
    first, *others = _HIDDEN.split(shown)
    if not others or not text.startswith(first) or not text.endswith(others[-1]):
        return False
    at, end = len(first), len(text) - len(others[-1])
    for one in others[:-1]:
        at = text.find(one, at, end) + len(one)
        if at < len(one):
            return False
    return at <= end


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _without_secret(text: str, secret: str) -> str:
    if len(text) < len(secret):  # as most values are: it has room for the beginning alone
        return _without_beginning(text, secret)
    plain, encoded = _patterns(secret)
    text = plain.sub(REDACTED, text)
    parts, end = [], 0
    for found in encoded.finditer(text):
        if found.start() < end:
            continue
        before = _BASE64_REVERSED.match(text[max(end, found.start() - _FARTHEST) : found.start()][::-1])
        after = _BASE64.match(text, found.end(), found.end() + _FARTHEST)
        parts += [text[end : found.start() - (before.end() if before else 0)], REDACTED]
        end = after.end() if after else found.end()
    return _without_beginning("".join([*parts, text[end:]]), secret)


def _without_beginning(text: str, secret: str) -> str:
    """Take out the beginning of a secret in a text that was shortened."""
    if secret[:MIN_SECRET] not in text:
        return text
    for found in reversed(list(re.finditer("…", text))):
        for length in range(len(secret) - 1, MIN_SECRET - 1, -1):
            if text.endswith(secret[:length], 0, found.start()):
                text = text[: found.start() - length] + REDACTED + text[found.start() :]
                break
    return text


@lru_cache(maxsize=32)
def _patterns(secret: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what finds a secret as it is or escaped, and what finds its middle within base64."""
    cores = {core for raw in _encodings(secret) for core in _base64_cores(raw)}
    encoded = "|".join("".join(map(_base64_character, core)) for core in sorted(cores))
    return re.compile("".join(map(_any_spelling, secret))), re.compile(encoded)


@lru_cache(maxsize=32)
def _header_pattern(name: str, value: str) -> re.Pattern[str]:
    spelling = "".join(map(_any_spelling, value))
    return re.compile(rf"((?i:{re.escape(name)})[\"'\\\s:=>]{{1,16}}){spelling}")


def _any_spelling(character: str) -> str:
    """Match a character as it is, escaped in JSON (also JSON in JSON), percent-encoded, or as an entity of HTML."""
    units = character.encode("utf-16-be")
    unicode = "".join(rf"\\{{1,8}}u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2))
    percent = ["".join(f"%(?:25){{0,3}}(?i:{byte:02x})" for byte in raw) for raw in _encodings(character)]
    if character in '"\\/':
        plain = [r"\\{1,8}" if character == "\\" else rf"\\{{0,8}}{character}"]
    else:
        plain = [re.escape(raw.decode("latin-1")) for raw in _encodings(character)]
    entities = [f"&#0{{0,4}}{ord(character)};", f"&#(?i:x0{{0,4}}{ord(character):x});"]
    entities += [escape(character)] if escape(character) != character else []
    return f"(?:{'|'.join([unicode, *percent, *entities, *plain])})"


def _encodings(text: str) -> set[bytes]:
    return {text.encode(), text.encode("latin-1", "ignore")} - {b""} if not text.isascii() else {text.encode()}


def _base64_cores(raw: bytes) -> Iterator[str]:
    """Yield what is the same of `raw` in base64 whatever stands before and after it, such as `id:`: for each offset."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode("ascii")
        yield encoded[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]


def _base64_character(character: str) -> str:
    if character == "+":
        return r"(?:[+-]|%(?:25){0,3}2[Bb]|\\{1,8}u002[Bb])"
    return r"(?:\\{0,8}/|_|%(?:25){0,3}2[Ff]|\\{1,8}u002[Ff])" if character == "/" else character
