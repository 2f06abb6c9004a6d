"""Cells as they are written -> their exact text, or the code of why they cannot be trusted.

Each cell keeps beside its text what its failures workbook needs to write it as it was (`origin`): null for plain text,
else a letter, the number of its format in `SheetStyle.formats`, and after a colon what the text does not say:

    s3          text, in format 3          n0        the number that the text says, in format 0
    d2:45000.5  a date, time or duration   b0        true or false
    e0:#N/A     an Excel error             u0        a formula without a stored value
"""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import polars as pl

from batch.model import CellStyle
from batch.sources.excel.markup import MarkupError
from batch.sources.excel.number_formats import Section, read_format
from batch.sources.excel.shared_strings import unescape_controls
from batch.sources.excel.workbook import Workbook

# Excel counts days from 1900 (with a 29 February 1900 that never was) or from 1904, and stores times as parts of a day.
# Before March 1900 Excel and LibreOffice show different days for the same number, so those are never read.
_DAY = 86_400_000
_FIRST, _LAST = 61, 2_958_466
"""1900-03-01, and the day after 9999-12-31."""
_SHIFT_1904 = 1_462
_EPOCH = 25_569
"""1970-01-01 as Excel counts."""


def read_dates(cells: pl.DataFrame, *, is_1904: bool) -> pl.DataFrame:
    """Return `text origin code` of cells with a number in a date, time or duration format.

    Dates come out as `2026-03-04`, with a time as `2026-03-04T12:30:00`, times alone as `12:30:00`, durations as
    `36:00:00`.
    Fractions are rounded to milliseconds, as Excel does, and shown when there are any.
    """
    number, kind = pl.col("number"), pl.col("kind")
    total = (number * _DAY).round().cast(pl.Int64, strict=False)
    is_clock = (kind == "elapsed") | ((kind == "time") & number.is_between(0, 1, closed="left"))
    day = number + (_SHIFT_1904 if is_1904 else 0)
    code = (
        pl.when(is_clock & (number < 0)).then(pl.lit("time_negative"))
        .when(~is_clock & (number < 0)).then(pl.lit("date_negative"))
        .when(~is_clock & (day < _FIRST)).then(pl.lit("date_early"))
        .when(~is_clock & (day >= _LAST)).then(pl.lit("date_late"))
    )  # fmt: skip
    cells = cells.with_columns(code=code, is_clock=is_clock, total=total)
    text = pl.when(pl.col("code").is_not_null()).then(pl.col("value")).when("is_clock").then(_clock(pl.col("total")))
    shift = (_SHIFT_1904 if is_1904 else 0) - _EPOCH
    return cells.select(
        text.otherwise(_calendar(pl.col("total") + shift * _DAY)).alias("text"),
        ("d" + pl.col("format") + ":" + pl.col("value").str.strip_chars()).alias("origin"),
        "code",
    )


def _calendar(since_1970: pl.Expr) -> pl.Expr:
    moment = since_1970.cast(pl.Datetime("ms"))
    long = moment.dt.strftime("%Y-%m-%dT%H:%M:%S%.3f").str.strip_suffix(".000")
    return pl.when(since_1970 % _DAY == 0).then(moment.dt.strftime("%Y-%m-%d")).otherwise(long)


def _clock(total: pl.Expr) -> pl.Expr:
    hours = (total // 3_600_000).cast(pl.String).str.zfill(2)
    rest = (total % 3_600_000).cast(pl.Datetime("ms")).dt.strftime(":%M:%S%.3f").str.strip_suffix(".000")
    return hours + rest


TOO_LARGE = 1e15
"""From here on a number has 16 digits, and Excel keeps 15."""
_TYPES = ("n", "s", "str", "inlineStr", "b", "e", "d")
_CONSTANTS = ("TRUE()", "FALSE()", "TRUE", "FALSE")
"""LibreOffice writes plain booleans as such formulas."""
_SHORT = r"^-?(?:[1-9][0-9]{0,14}|0|(?:0|[1-9][0-9]{0,14})\.[0-9]*[1-9])$"
_SHORT_BYTES = 16
"""Up to 15 digits and a sign or point: such a number is stored as short as it can be, if nothing else is odd."""
_READ = ("text", "origin", "code")


class Values:
    """Reads the cells of one workbook, and counts per column what the user is told about them."""

    def __init__(self, workbook: Workbook, texts: pl.Series) -> None:
        self._is_1904, self._is_uncalculated = workbook.is_1904, workbook.is_uncalculated
        self._texts = texts
        formats = [read_format(code) for code in workbook.formats]
        looks = workbook.looks or (CellStyle(),) * len(formats)
        styles = list(zip(workbook.formats, looks, strict=True))
        places = {style: at for at, style in enumerate(dict.fromkeys([("General", CellStyle()), *styles]))}
        self.codes: list[str] = [code for code, _ in places]
        """The number formats of the workbook, as `origin` counts them."""
        self.looks: list[CellStyle] = [look for _, look in places] if workbook.looks else []
        """What cells look like, counted in the same way."""
        numbers = [places[style] for style in styles]
        rows = [(place, one.sections[0]) for place, one in enumerate(formats)]
        self._sections = dict[int, list[tuple[Section, int]]]()
        """By style, the sections of its format if there are several, each with the row of `_styles` about it."""
        for place, form in enumerate(formats):
            for section in form.sections if len(form.sections) > 1 else ():
                known = self._sections.setdefault(place, [])
                known.append((section, len(rows) if known else place))
                rows += [(place, section)] if len(known) > 1 else []
        self._count_of_styles = len(formats)
        self._styles = pl.DataFrame(
            {
                "format": [str(numbers[place]) for place, _ in rows],
                "number_origin": [f"n{numbers[place]}" for place, _ in rows],
                "text_origin": [f"s{numbers[place]}" if numbers[place] else None for place, _ in rows],
                "kind": [formats[place].kind for place, _ in rows],
                "zeros": [section.zeros for _, section in rows],
                "front": [section.front for _, section in rows],
                "shows": [section.shows for _, section in rows],
            },
            schema_overrides={"text_origin": pl.String, "zeros": pl.Int64, "front": pl.Int64},
        )
        """What each cell style says, by the index of the style; then the further sections of their formats."""
        self._shows = sorted({section.shows for _, section in rows if section.shows})
        self.counts: Counter[tuple[int, str]] = Counter()
        """How many cells of a column (1 = A) are "percent", "currency", "words", "formula", "numbers" or "zeros"."""

    def read(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Return `row column is_hidden text origin code` of each cell that is not blank.

        Plain texts and numbers, which most cells are, are read at once; the others are then read again, kind by kind.
        """
        cells = self._look_up(cells)
        is_number, kind, number = cells["type"] == "n", cells["kind"], cells["number"]
        is_missing = self._is_missing(cells)
        is_sound = is_number & number.is_finite() & (number.abs() < TOO_LARGE)
        is_short = (cells["zeros"] > 0) & (number.abs() < 10.0 ** (cells["zeros"] - 1))
        is_padded = is_sound & (is_short | (cells["front"] > 0))
        is_own = cells["type"].is_in(["str", "inlineStr", "d"])
        cells = _replace(cells, is_own, lambda some: some.with_columns(text=unescape_controls(some["value"])))
        cells = _replace(cells, cells["type"] == "b", _read_booleans)
        cells = _replace(cells, is_sound & cells["text"].is_null() & (kind == "number"), _read_long_numbers)
        cells = _replace(cells, is_sound & (kind != "number"), lambda some: read_dates(some, is_1904=self._is_1904))
        is_bad = is_number & cells["value"].is_not_null() & ~is_sound.fill_null(value=False)
        cells = _replace(cells, is_bad, _read_bad_numbers)
        cells = _replace(cells, is_padded, _read_padded)
        cells = _replace(cells, cells["type"] == "e", _read_errors)
        cells = _replace(cells, is_missing & (cells["type"] != "e"), _read_missing)
        is_filled = (cells["text"] != "").fill_null(value=False)
        cells = cells if is_filled.all() else cells.filter(is_filled)
        self._count(cells)
        return cells.select("row", "column", "is_hidden", *_READ)

    def _look_up(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Add style and shared text, and read plain cells; raise `MarkupError` for a reference that leads nowhere."""
        cells = cells.filter(pl.col("value").is_not_null() | pl.col("formula").is_not_null())
        is_number, is_shared = cells["type"] == "n", cells["type"] == "s"
        places = cells["value"].set(~is_shared, None).cast(pl.UInt32, strict=False)
        if (
            not cells["type"].is_in(_TYPES).all()
            or _most(cells["style"]) >= self._count_of_styles
            or _most(places) >= len(self._texts)
            or places.count() < is_shared.sum()
        ):
            raise MarkupError("a cell of a type, style or text that is not there")
        value = pl.col("value")
        number = cells.select(pl.when(pl.lit(is_number)).then(value).cast(pl.Float64, strict=False)).to_series()
        styles = self._styles[self._find_sections(cells["style"], number)]
        is_short = (value.str.len_bytes() <= _SHORT_BYTES) & value.str.contains(_SHORT) & (pl.col("kind") == "number")
        return cells.hstack(styles).with_columns(
            number.alias("number"),
            pl.coalesce(pl.lit(self._texts.gather(places)), pl.when(pl.lit(is_number) & is_short).then(value)).alias(
                "text"
            ),
            pl.when(pl.lit(is_number)).then("number_origin").otherwise("text_origin").alias("origin"),
            pl.lit(None, dtype=pl.String).alias("code"),
        )

    def _find_sections(self, styles: pl.Series, numbers: pl.Series) -> pl.Series:
        """Return the row of `_styles` about each cell: by its style, and by its number where there are sections."""
        found = styles
        for style, sections in self._sections.items():
            is_open = (styles == style) & numbers.is_not_null()
            for section, row in sections:
                is_for = is_open & section.is_for(numbers)
                found, is_open = found.set(is_for, row), is_open & ~is_for
        return found

    def _is_missing(self, cells: pl.DataFrame) -> pl.Series:
        """Return which cells are formulas without a result. (An empty text is a result.)"""
        has_none = cells["value"].is_null() & (cells["type"] != "str")
        return cells["formula"].is_not_null() & (has_none | self._is_uncalculated)

    def _count(self, cells: pl.DataFrame) -> None:
        columns, texts = cells["column"], cells["text"]
        is_number = (cells["type"] == "n") & (cells["kind"] == "number")
        self._add(columns, is_number, "numbers")
        zeros = texts.str.starts_with("0") & ~is_number
        self._add(columns.filter(zeros), texts.filter(zeros).str.contains(r"^0[0-9]+$"), "zeros")
        for shows in self._shows:
            self._add(columns, is_number & (cells["shows"] == shows), shows)
        if cells["formula"].count():
            is_formula = cells["formula"].is_not_null() & cells["code"].is_null()
            self._add(columns, is_formula & ~cells["formula"].is_in(_CONSTANTS), "formula")

    def _add(self, columns: pl.Series, which: pl.Series, what: str) -> None:
        for column, number in columns.filter(which).value_counts().iter_rows():
            self.counts[column, what] += number


def _most(series: pl.Series) -> int:
    """The largest number, -1 if there is none."""
    return int(series.max()) if series.count() else -1  # type: ignore[arg-type]  # whole numbers


def _replace(cells: pl.DataFrame, which: pl.Series, read: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Replace text, origin and code of some cells by what `read` returns."""
    at = which.fill_null(value=False).arg_true()
    if not len(at):
        return cells
    found = read(cells[at])
    return cells.with_columns(cells[name].scatter(at, found[name]) for name in _READ)


def _read_booleans(cells: pl.DataFrame) -> pl.DataFrame:
    is_true = pl.col("value").str.strip_chars().is_in(["1", "true"])
    return cells.with_columns(
        pl.when(is_true).then(pl.lit("true")).otherwise(pl.lit("false")).alias("text"),
        ("b" + pl.col("format")).alias("origin"),
    )


def _read_long_numbers(cells: pl.DataFrame) -> pl.DataFrame:
    """Numbers that are not stored as short as they can be: `1.1000000000000001`, `1E-3`, `2.50`."""
    return cells.with_columns(pl.Series("text", [number_text(one) for one in cells["number"]]))


def _read_bad_numbers(cells: pl.DataFrame) -> pl.DataFrame:
    number = pl.col("number")
    is_large = number.is_finite() & (number.abs() >= TOO_LARGE)
    seen = [
        (number_text(one) if abs(one) < 1e21 else f"{one:.15G}") if one is not None and large else value
        for one, value, large in cells.select(
            "number", "value", is_large.fill_null(value=False).alias("is_large")
        ).iter_rows()
    ]
    return cells.with_columns(
        pl.Series("text", seen, dtype=pl.String),
        (pl.col("number_origin") + ":" + pl.col("value")).alias("origin"),
        pl.when(is_large).then(pl.lit("number_rounded")).otherwise(pl.lit("number_malformed")).alias("code"),
    )


def _read_padded(cells: pl.DataFrame) -> pl.DataFrame:
    sign = pl.when(pl.col("number") < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    digits = pl.col("text").str.strip_chars_start("-")
    zeros = pl.col("zeros") - digits.str.split(".").list.first().str.len_bytes().cast(pl.Int64)
    return cells.with_columns(
        (sign + pl.lit("0").repeat_by(zeros.clip(0) + pl.col("front")).list.join("") + digits).alias("text"),
        (pl.col("number_origin") + ":" + pl.col("value")).alias("origin"),
        pl.lit("zeros_not_stored").alias("code"),
    )


def _read_errors(cells: pl.DataFrame) -> pl.DataFrame:
    value = pl.col("value").fill_null("#N/A")
    return cells.with_columns(text=value, origin="e" + pl.col("format") + ":" + value, code=pl.lit("excel_error"))


def _read_missing(cells: pl.DataFrame) -> pl.DataFrame:
    return cells.with_columns(text="=" + pl.col("formula"), origin=pl.lit("u0:"), code=pl.lit("formula_uncalculated"))


def number_text(number: float) -> str:
    """Write a number as short as it can be without loss: no `.0`, no exponent."""
    if number.is_integer():
        return str(int(number))
    short = repr(number)
    return format(Decimal(short), "f") if "e" in short else short
