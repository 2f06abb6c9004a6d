"""Escapes text for spreadsheet programs, which execute a CSV cell that begins like a formula (CSV injection).

Promises that it can be undone: `unescape_formula(escape_formula(x)) == x` for every text, and that a text which needs
no escape is never changed by either. The escape is one apostrophe in front. Numbers and telephone numbers (`-5`, `+44
20 7946`) need none, nor does a text that merely begins with an apostrophe (`'x`). A text that is escaped already
gets another apostrophe, so that only one is removed again.
"""

import polars as pl

FORMULA = r"^'*(?:[=@\t\r]|[+-][0-9\s.,()/-]*[^0-9\s.,()/-])"
"""Apostrophes, then what begins a formula: a sign only if anything follows that is not part of a number."""


def escape_formula(text: pl.Expr) -> pl.Expr:
    """Return the text, with an apostrophe in front if a spreadsheet program would execute it."""
    return pl.when(text.str.contains(FORMULA)).then(pl.lit("'") + text).otherwise(text).name.keep()


def unescape_formula(text: pl.Expr) -> pl.Expr:
    """Return the text without that apostrophe."""
    is_escaped = text.str.starts_with("'") & text.str.contains(FORMULA)
    return pl.when(is_escaped).then(text.str.slice(1)).otherwise(text).name.keep()
