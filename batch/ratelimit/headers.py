"""What a reply's headers say about rate: Retry-After and every generation of RateLimit headers.

Promises: reading never raises, whatever a server sends; what is malformed counts as absent. Times come out as seconds
from now.
Sources: RFC 9110 (Retry-After), draft-ietf-httpapi-ratelimit-headers 02 to 10, and the X- headers in use.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from batch.ratelimit.buckets import EventLog

EPOCH_SECONDS = 1e9
EPOCH_MILLISECONDS = 1e12
LONGEST = 366 * 86_400.0
"""A reset in more than a year is garbage: a wrong unit, a wrong clock."""
FOR_EVER = 1e12
"""Seconds; a longer Retry-After is not told from this one."""
SHORT = 2.0
"""Shorter resets are left to the buckets and the controller: headers count in whole seconds, which costs more."""

_NUMBER = re.compile(r"\d{1,18}(?:\.\d{1,9})?", re.ASCII)
_PARAMETER = re.compile(r"\b([a-z]+)\s*=\s*\"?([^\s;,\"]+)", re.IGNORECASE)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_DAY_NAME = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", re.IGNORECASE)
_DATE = re.compile(_DAY_NAME.pattern + r"[a-z]*,?[ \w:+-]*", re.IGNORECASE | re.ASCII)
_SPELLINGS = tuple(
    tuple(prefix + part for part in ("limit", "remaining", "reset"))
    for prefix in ("ratelimit-", "x-ratelimit-", "x-rate-limit-")
)


@dataclass(frozen=True, slots=True)
class RateHint:
    """What a reply says about rate: `limit` attempts in `window` seconds, `remaining` of them for `reset` seconds."""

    retry_after: float | None = None
    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None
    window: float | None = None

    @property
    def wait(self) -> float | None:
        """Return how long a refused client is asked to stay away; Retry-After outranks the rate headers."""
        return self.reset if self.retry_after is None else self.retry_after


NO_HINT = RateHint()


def read_rate_headers(headers: Mapping[str, str], now_epoch: float) -> RateHint:
    """Read every rate header there is. `now_epoch` is the wall clock, for dates and epochs."""
    found = {
        name.lower(): headers[name]
        for name in headers
        if len(name) > 8 and name[0] in "RrXx" and ("rate" in (low := name.lower()) or low == "retry-after")
    }
    if not found:
        return NO_HINT
    # The clock here may be wrong: dates and epochs go by the clock of the server that wrote them.
    served_at = _http_date(headers.get("date", "").strip())
    now_epoch = now_epoch if served_at is None else served_at
    retry_after = _retry_after(found.get("retry-after", ""), now_epoch)
    hints = [*_one_line(found), *_one_header_each(found, now_epoch)]
    if not hints:
        return RateHint(retry_after)
    # Several policies at once: the one with the least left counts.
    tightest = min(hints, key=_what_is_left) if len(hints) > 1 else hints[0]
    return tightest if retry_after is None else replace(tightest, retry_after=retry_after)


def is_about_rate(status: int | None, hint: RateHint) -> bool:
    """Return whether a reply is about rate, and so concerns everybody: 429, or 503 with Retry-After."""
    return status == 429 or (status == 503 and hint.retry_after is not None)


@dataclass(slots=True)
class HeaderBudget:
    """What the headers leave one route: `left` more starts until `reset`. Without headers, no limit.

    A far reset is not believed blindly: when `hold` seconds have passed (from `next_trial` on), one request after the
    other tries whether it is true, and the first that is accepted proves the headers wrong for the rest of the run.
    """

    left: float = math.inf
    reset: float = -math.inf
    hold: float = 0.0
    next_trial: float = -math.inf
    trial: float = math.inf
    """When the request left that tries it."""
    is_disproved: bool = False
    starts: EventLog = field(default_factory=lambda: EventLog(exact=64))  # only the latest matter

    def earliest(self, now: float) -> float:
        """Return the time from which a start is within the budget, or may try whether there is one."""
        return max(now, min(self.reset, self.next_trial)) if self.left < 1 else now

    def take(self, now: float) -> None:
        """Count one start."""
        if self.left < 1 and self.reset > now:
            self.trial, self.next_trial = now, now + self.hold
        self.left -= 1
        self.starts.add(now)

    def update(
        self, now: float, started: float, hint: RateHint, *, shortest: float, longest: float, is_accepted: bool
    ) -> None:
        """Believe the reply to the attempt that started then, less what has started since.

        Resets of up to `shortest` seconds are left to the buckets; none holds the route longer than `longest`.
        """
        if is_accepted and started >= self.trial and self.reset > now:
            self.is_disproved, self.left = True, math.inf
        if self.is_disproved or hint.remaining is None or hint.reset is None or hint.reset <= max(SHORT, shortest):
            return
        under_way = max(0, self.starts.since(started) - 1)
        self.left = hint.remaining - under_way
        self.reset, self.hold, self.trial = now + hint.reset, longest, math.inf
        self.next_trial = now + min(hint.reset, longest)


def _what_is_left(hint: RateHint) -> tuple[float, float]:
    remaining = math.inf if hint.remaining is None else hint.remaining
    return remaining, -(hint.reset or 0.0)


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _retry_after(text: str, now_epoch: float) -> float | None:
    """Read seconds, a date, or a list of them (the header came more than once), of which the largest counts.

    A date has a comma of its own, and so is found first; a past one is 0.
    """
    moments = [_http_date(found) for found in _DATE.findall(text)]
    waits = [max(0.0, moment - now_epoch) for moment in moments if moment is not None]
    seconds = [part.strip() for part in _DATE.sub("", text).split(",")]
    waits += [min(float(one), FOR_EVER) for one in seconds if _SECONDS.fullmatch(one)]
    return max(waits, default=None)


def _http_date(text: str) -> float | None:
    """Read the three date forms of RFC 9110 as epoch seconds."""
    if not _DAY_NAME.match(text) or len(text) > 60:
        return None
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # asctime form; every HTTP date is in GMT
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):  # email.utils raises each of them on some garbage
        return None


def _reset(text: str | None, now_epoch: float) -> float | None:
    """Read a reset: seconds from now at some, epoch seconds or milliseconds at others."""
    value = _number(text)
    if value is None:
        return None
    if value > EPOCH_MILLISECONDS:
        value = max(0.0, value / 1000 - now_epoch)
    elif value > EPOCH_SECONDS:
        value = max(0.0, value - now_epoch)
    return value if value <= LONGEST else None


def _one_line(found: Mapping[str, str]) -> Iterator[RateHint]:
    """Read `"p";r=50;t=30` and `limit=100, remaining=50, reset=5`, with their RateLimit-Policy."""
    line = found.get("ratelimit")
    if line is None:
        return
    windows = dict(_policies(found.get("ratelimit-policy", "")))
    for name, values in _items(line):
        quota, window = windows.get(name) or next(iter(windows.values()), (None, None))
        limit = _number(values.get("limit"))
        yield RateHint(
            limit=quota if limit is None else limit, remaining=_number(values.get("r") or values.get("remaining")),
            reset=_reset(values.get("t") or values.get("reset"), math.inf), window=window,
        )  # fmt: skip


def _items(line: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Split a line into policies; in the oldest form the whole line is one."""
    for item in line.split(",") if ";" in line else [line]:
        name, _, rest = item.partition(";") if ";" in item else ("", "", item)
        yield name.strip(' "'), {key.lower(): value for key, value in _PARAMETER.findall(rest)}


def _policies(line: str) -> Iterator[tuple[str, tuple[float | None, float | None]]]:
    """Read `"p";q=100;w=60` and `100;w=60` as name -> (quota, window)."""
    for item in filter(None, (part.strip() for part in line.split(","))):
        name, _, rest = item.partition(";")
        values = {key.lower(): value for key, value in _PARAMETER.findall(rest)}
        quota = _number(values.get("q")) if "q" in values else _number(name)
        yield name.strip(' "'), (quota, _number(values.get("w")))


def _one_header_each(found: Mapping[str, str], now_epoch: float) -> Iterator[RateHint]:
    """Read RateLimit-Limit, -Remaining and -Reset, also with X-, also as X-Rate-Limit-."""
    for names in _SPELLINGS:
        limit, remaining, reset = map(found.get, names)
        if limit is None and remaining is None and reset is None:
            continue
        first, _, policies = (limit or "").partition(",")  # draft 02: `RateLimit-Limit: 100, 100;w=60`
        window = next((window for _, (_, window) in _policies(policies)), None)
        yield RateHint(None, _number(first), _number(remaining), _reset(reset, now_epoch), window)
