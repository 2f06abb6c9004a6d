"""Where a row of a sheet comes from: what `pull` and a failures file write beside it, to be read when it comes back.

    batch_pulled     {"batch": 1, "endpoint": …, "host": …, "company": …, "fingerprint": …, "id": …, "record": {…}}
    batch_pulled_2   what of it does not fit into one cell, and so on
    batch_run        the run that wrote the failures file
    batch_seen       {"batch": 1, "id": …, "seen": {…}, "sent": {…}, "shown": {…}}: what it saw in the fields that it
                     was to change, what it sent of them, and what the API showed for that, where not to the letter

Promises: what is read is what was written, or an error; the cells are plain ASCII, so that no encoding can spoil them,
and never begin like a formula; values are the API's own. Nothing in them is secret, and nothing keeps them from being
changed: whoever gives a sheet to somebody else can make a run more careful with them, and no more.
"""

import base64
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch.conditions import as_shown, expected_units
from batch.credentials import Company
from batch.endpoints.base import Endpoint, Record
from batch.exact_json import decode, encode_ascii
from batch.model import Intent

PULLED, RUN, SEEN = "batch_pulled", "batch_run", "batch_seen"
VERSION = 1
MOST = 32_000
"""Characters of a cell; a workbook's holds 32,767."""
MORE = "~"
"""Begins and ends what stands in a further cell, so that no spaces are lost and it looks like nothing else."""
_HEADER = re.compile(rf"{PULLED}(?:_([0-9]{{1,4}}))?")


@dataclass(frozen=True, slots=True)
class PulledFrom:
    """Where rows were pulled from."""

    endpoint: str
    host: str
    company: Company

    def is_same(self, other: "PulledFrom") -> bool:
        """Return whether records with the same id are the same: of one endpoint, host and company."""
        is_there = (self.endpoint, self.host) == (other.endpoint, other.host)
        return is_there and self.company.is_same(other.company)


@dataclass(frozen=True, slots=True)
class PulledRow:
    """A row as it was pulled: `record` holds what its fields are read from."""

    source: PulledFrom
    id: str
    record: Record


def pulled_headers(count: int) -> list[str]:
    """Name the columns that hold so many cells of each row."""
    return [PULLED if number == 1 else f"{PULLED}_{number}" for number in range(1, count + 1)]


def pulled_place(header: str) -> int | None:
    """Return which cell of a pulled row a column holds, counted from 1; None for a column that holds none."""
    found = _HEADER.fullmatch(header.strip().casefold())
    return int(found[1] or 1) if found else None


def pulled_cells(source: PulledFrom, record_id: str, record: Record) -> dict[str, str]:
    """Spell a pulled row as cells, by header."""
    company = source.company
    text = encode_ascii(
        {
            "batch": VERSION, "endpoint": source.endpoint, "host": source.host, "company": company.name,
            "fingerprint": company.fingerprint, "id": record_id, "record": record,
        }
    )  # fmt: skip
    first, *more = (text[at : at + MOST] for at in range(0, len(text), MOST))
    cells = [first, *(f"{MORE}{piece}{MORE}" for piece in more)]
    return dict(zip(pulled_headers(len(cells)), cells, strict=True))


def read_pulled(cells: Sequence[str | None]) -> PulledRow | None:
    """Read the cells of a row in order, None where there are none; raises ValueError when they are not as written."""
    found = [cell.strip() for cell in cells if cell is not None]
    if not found:
        return None
    first, *more = found
    known = decode(first + "".join(piece.removeprefix(MORE).removesuffix(MORE) for piece in more))
    if not isinstance(known, Mapping) or known.get("batch") != VERSION:
        raise ValueError("it is not what pull wrote")
    texts = [known.get(name) for name in ("endpoint", "host", "fingerprint", "id")]
    if not all(isinstance(one, str) for one in texts) or not isinstance(known.get("record"), dict):
        raise ValueError("it is not what pull wrote")
    endpoint, host, fingerprint, record_id = map(str, texts)
    name = known.get("company")
    company = Company(fingerprint, name if isinstance(name, str) else None)
    return PulledRow(PulledFrom(endpoint, host, company), record_id, known["record"])


# -- failures files ---------------------------------------------------------------------------------------------------

PACKED = "zip "
"""Begins a text that would not fit into a cell as it is."""
MOST_UNPACKED = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SeenRow:
    """What a run saw in the fields (or objects) that it was to change, what it sent of them, and what came of that.

    `id` is the row's cell with the id or key: of another record nothing is known.
    """

    id: str
    seen: Mapping[str, Any]
    sent: Mapping[str, Any]
    shown: Mapping[str, Any]


def seen_text(endpoint: Endpoint, record_id: str, intent: Intent, shown: Mapping[str, Any]) -> str:
    """Spell what was seen before an intent as a cell, and `shown` after; "" where nothing was, or no cell holds it."""
    before = intent.before or {}
    plain = [name for name in before if endpoint.unit(name) == name]
    seen = {name: before[name] for name in plain} | expected_units(endpoint, before, intent.replaced_whole)
    sent = {name: intent.fields[name] for name in plain if name in intent.fields}
    sent |= expected_units(endpoint, before, intent.body)
    if not seen:
        return ""
    known = {"batch": VERSION, "id": record_id, "seen": seen, "sent": sent}
    if shown:
        whole = expected_units(endpoint, before, as_shown(endpoint, intent.body, shown))
        known["shown"] = {name: shown[name] for name in plain if name in shown} | whole
    text = encode_ascii(known)
    if len(text) > MOST:
        text = PACKED + base64.b64encode(zlib.compress(text.encode())).decode()
    return text if len(text) <= MOST else ""


def read_seen(text: str) -> SeenRow:
    """Read such a cell; raises ValueError when it is not as written."""
    text = text.strip()
    if text.startswith(PACKED):
        unpack = zlib.decompressobj()
        try:
            text = unpack.decompress(base64.b64decode(text.removeprefix(PACKED)), MOST_UNPACKED).decode()
        except zlib.error as error:
            raise ValueError(str(error)) from None
    known = decode(text)
    if not isinstance(known, Mapping) or known.get("batch") != VERSION or not isinstance(known.get("id"), str):
        raise ValueError("it is not what a failures file says")
    seen, sent, shown = known.get("seen"), known.get("sent"), known.get("shown", {})
    if not (isinstance(seen, dict) and isinstance(sent, dict) and isinstance(shown, dict)):
        raise ValueError("it is not what a failures file says")
    return SeenRow(known["id"], seen, sent, shown)
