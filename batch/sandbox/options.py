"""The switches of a sandbox as one frozen value, and the way to a command line and back.

`SandboxOptions` refuses values that make no sense, in words for the person who typed them.
"""

import dataclasses
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, cast, get_args

VAYU_CLIENT_ID: Final = "sandbox-client"

LimitsMode = Literal["documented", "fast", "off"]
PutMode = Literal["merge", "replace"]
ReplayMode = Literal["stored", "too-large"]
NormalizeMode = Literal["no", "shown", "hidden"]
FiltersMode = Literal["work", "last", "ignored"]
PendingMode = Literal["hidden", "shown"]
RateHeadersMode = Literal["true", "none", "full", "empty", "garbled"]

FAULT_KINDS: Final = {
    "drop-before": "the connection closes and nothing is applied",
    "hang-before": "the answer never comes and nothing is applied",
    "drop-after": "applied, then the connection closes without an answer",
    "hang-after": "applied, and the answer never comes",
    "reset": "applied, then the connection is reset without an answer",
    "half": "applied, half of the answer, then the connection closes",
    "garbled": "applied, and what comes is no HTTP",
    "stray": "applied, and the answer comes twice",
    "stray-late": "applied, and the answer comes again in front of the next one on its connection",
    "garbage": "applied, and the answer is a page of HTML with status 200",
    "empty": "applied, and the answer is 200 without a body",
    "queued": "applied, and the answer is 202 without the record",
    "success-true": "applied, and the answer is 200 with success: true instead of the record",
    "lie-drop-field": "200, but one of the fields is not applied",
    "lie-other": "applied, but the answer shows another record; a list shows another for each",
    "approval": "DualEntry: 200 with approval_status pending, not visible on reading",
    "stale-read": "applied, but the next reads show the record as it was before",
    "success-false": "200 with success: false in the body, not applied",
    "429-bare": "429 without Retry-After, for every request",
}
Requests = Literal["writes", "reads", "lists", "logins", "all"]
ONLY_OF_WRITES: Final = frozenset({"lie-drop-field", "approval", "stale-read", "success-false"})
"""Faults that no other request can meet."""


class OptionError(ValueError):
    """A switch has a value that makes no sense; `str()` of it is what the person reads."""


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """Every switch of the sandbox, each with the meaning of the command-line option of that name.

    A fault is `KIND=WHEN` or `KIND@REQUESTS=WHEN`: a KIND is a status like 503, a status after the deed like 503-after,
    or one of `FAULT_KINDS`; REQUESTS are `writes`, `reads`, `lists` (all reads but of one record by its id), `logins`
    or `all`, by themselves all for a status and writes for the others; WHEN is a chance from 0 to 1, or `nth:1,2,3`
    (those of these requests, counted from 1), `id:10001,10002` (every request for those records) or
    `once:10001,10002` (the first request for each of those records).

    Each of `keys` is a company with records of its own: DualEntry's API key and Vayu's API token alike. Without one
    there is one company, with another key each time, so that nobody takes the records of this sandbox for those of an
    earlier one.
    """

    port: int = 0
    keys: tuple[str, ...] = ()
    records: int = 1000
    limits: LimitsMode = "documented"
    put: PutMode = "merge"
    replay: ReplayMode = "stored"
    bare_lists: bool = False
    normalize: NormalizeMode = "no"
    read_lag: float = 0.0
    max_page: int = 0
    filters: FiltersMode = "work"
    pending: PendingMode = "hidden"
    rate_headers: RateHeadersMode = "true"
    retry_after: str = ""
    token_lifetime: float = 3600.0
    latency: float = 0.0
    faults: tuple[str, ...] = ()
    seed: int = 0
    stale_reads: int = 2
    ledger: Path | None = None
    ledger_writes_only: bool = False
    ledger_no_bodies: bool = False
    state: Path | None = None
    address: Path | None = None
    until_stdin_closes: bool = False

    def __post_init__(self) -> None:
        _check_choice("--limits", self.limits, get_args(LimitsMode))
        _check_choice("--put", self.put, get_args(PutMode))
        _check_choice("--replay", self.replay, get_args(ReplayMode))
        _check_choice("--normalize", self.normalize, get_args(NormalizeMode))
        _check_choice("--filters", self.filters, get_args(FiltersMode))
        _check_choice("--pending", self.pending, get_args(PendingMode))
        _check_choice("--rate-headers", self.rate_headers, get_args(RateHeadersMode))
        _check_range("--port", self.port, 0, 65535)
        _check_range("--records", self.records, 0, 1_000_000_000)
        _check_range("--stale-reads", self.stale_reads, 0, 1_000_000)
        _check_range("--latency", self.latency, 0, 86_400)
        _check_range("--read-lag", self.read_lag, 0, 86_400)
        _check_range("--max-page", self.max_page, 0, 1000)
        _check_range("--token-lifetime", self.token_lifetime, 0, 10**9)
        if not re.fullmatch(r"[\x20-\x7e]*", self.retry_after):
            raise OptionError(f"--retry-after {self.retry_after!r}: a header has printable ASCII only")
        for spec in self.faults:
            parse_fault(spec)
        for key in self.keys:
            if not re.fullmatch(r"[\x21-\x7e]+", key) or self.keys.count(key) > 1:
                raise OptionError(f"--key {key}: each company needs a key of its own, of plain ASCII without blanks")
        if self.state and len(self.keys) > 1:
            raise OptionError("--state: it keeps the records of one company. Name one --key.")


def lock_of(address: Path) -> Path:
    """Return the lock that a sandbox holds which keeps its address in a file."""
    return address.with_suffix(".lock")


CHANGEABLE: Final = frozenset(
    {
        "put", "replay", "bare_lists", "normalize", "read_lag", "max_page", "filters", "pending", "rate_headers",
        "retry_after", "latency", "stale_reads",
    }
)  # fmt: skip
"""What a running sandbox may be told anew."""


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """When one kind of fault strikes: by chance, at the requests with these numbers (from 1), or at these records."""

    kind: str
    requests: Requests
    chance: float = 0.0
    nth: frozenset[int] = frozenset()
    ids: frozenset[str] = frozenset()
    once: bool = False


def parse_fault(spec: str) -> FaultSpec:
    """Read `KIND=WHEN` or `KIND@REQUESTS=WHEN`; raises `OptionError`."""
    name, equals, value = spec.partition("=")
    kind, at, requests = name.partition("@")
    status = re.fullmatch(r"[45][0-9]{2}(-after)?", kind)
    if not equals or not (kind in FAULT_KINDS or status):
        known = ", ".join(["a status from 400 to 599, the same with -after", *FAULT_KINDS])
        raise OptionError(f'--fault {spec}: "{kind}" is no fault. Write KIND=0.01 or KIND=nth:1,2,3; kinds: {known}')
    if not at:
        requests = "all" if kind == "429-bare" or (status and not status[1]) else "writes"
    if requests not in get_args(Requests):
        raise OptionError(
            f'--fault {spec}: "{requests}" are no requests. Choose one of {", ".join(get_args(Requests))}'
        )
    if kind in ONLY_OF_WRITES and requests != "writes":
        raise OptionError(f"--fault {spec}: only writes can meet {kind}")
    make = partial(FaultSpec, kind, cast(Requests, requests))
    when, colon, listed = value.partition(":")
    try:
        if colon and when in ("id", "once"):
            return make(ids=frozenset(listed.split(",")), once=when == "once")
        if colon and when == "nth":
            return make(nth=frozenset(int(number) for number in listed.split(",")))
        chance = float(value)
    except ValueError:
        chance = -1.0
    if not 0 <= chance <= 1:
        raise OptionError(f'--fault {spec}: "{value}" is neither a chance from 0 to 1 nor nth:1,2 nor id:… nor once:…')
    return make(chance=chance)


def arguments_of(options: SandboxOptions) -> list[str]:
    """The command line of `options`: what differs from the defaults."""
    arguments: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        name = "--" + field.name.replace("_", "-")
        if isinstance(value, tuple):
            arguments += [f"{name.removesuffix('s')}={one}" for one in value]
        elif value is True:
            arguments.append(name)
        elif value != field.default:
            arguments.append(f"{name}={value}")
    return arguments


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{name} {value}: choose one of {', '.join(choices)}")


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise OptionError(f"{name} {value}: must be from {least} to {most}")
