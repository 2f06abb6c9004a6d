"""Serial numbers -> ISO dates and times, or the reason why that would be a guess.

Excel counts days from 1900 (with a 29 February 1900 that never was) or from 1904, and stores times as parts of a day.
Before March 1900 Excel and LibreOffice show different days for the same number, so those are never read.
"""

import polars as pl

EARLY = (
    "is a date before March 1900, which Excel and LibreOffice show as different days "
    "(make the cell text, and type the date, like 1899-12-31)"
)
BELOW_ZERO = "is a negative date, which Excel cannot show (type the date again)"
LATE = "is later than any date that Excel knows (type the date again)"
NEGATIVE = "is a negative time (make the cell text, and type what is meant)"

_DAY = 86_400_000
_FIRST, _LAST = 61, 2_958_466
"""1900-03-01, and the day after 9999-12-31."""
_SHIFT_1904 = 1_462
_EPOCH = 25_569
"""1970-01-01 as Excel counts."""


def read_dates(cells: pl.DataFrame, *, is_1904: bool) -> pl.DataFrame:
    """Give `text origin reason` of cells with a number in a date, time or duration format.

    Dates come out as `2026-03-04`, with a time as `2026-03-04T12:30:00`, times alone as `12:30:00`, durations as
    `36:00:00`.
    Fractions are rounded to milliseconds, as Excel does, and shown when there are any.
    """
    number, kind = pl.col("number"), pl.col("kind")
    total = (number * _DAY).round().cast(pl.Int64, strict=False)
    is_clock = (kind == "elapsed") | ((kind == "time") & number.is_between(0, 1, closed="left"))
    day = number + (_SHIFT_1904 if is_1904 else 0)
    reason = (
        pl.when(is_clock & (number < 0)).then(pl.lit(NEGATIVE))
        .when(~is_clock & (number < 0)).then(pl.lit(BELOW_ZERO))
        .when(~is_clock & (day < _FIRST)).then(pl.lit(EARLY))
        .when(~is_clock & (day >= _LAST)).then(pl.lit(LATE))
    )  # fmt: skip
    cells = cells.with_columns(reason=reason, is_clock=is_clock, total=total)
    text = pl.when(pl.col("reason").is_not_null()).then(pl.col("value")).when("is_clock").then(_clock(pl.col("total")))
    shift = (_SHIFT_1904 if is_1904 else 0) - _EPOCH
    return cells.select(
        text.otherwise(_calendar(pl.col("total") + shift * _DAY)).alias("text"),
        ("d" + pl.col("format") + ":" + pl.col("value").str.strip_chars()).alias("origin"),
        "reason",
    )


def _calendar(since_1970: pl.Expr) -> pl.Expr:
    moment = since_1970.cast(pl.Datetime("ms"))
    long = moment.dt.strftime("%Y-%m-%dT%H:%M:%S%.3f").str.strip_suffix(".000")
    return pl.when(since_1970 % _DAY == 0).then(moment.dt.strftime("%Y-%m-%d")).otherwise(long)


def _clock(total: pl.Expr) -> pl.Expr:
    hours = (total // 3_600_000).cast(pl.String).str.zfill(2)
    rest = (total % 3_600_000).cast(pl.Datetime("ms")).dt.strftime(":%M:%S%.3f").str.strip_suffix(".000")
    return hours + rest
