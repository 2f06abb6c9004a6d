"""Escapes text for spreadsheet programs, which execute a CSV cell that begins like a formula (CSV injection).

The escape is one apostrophe in front. Numbers and telephone numbers (`-5`, `+44 20 7946`) need none. Files that only a
person reads use `escape_formula`, and leave a text alone that merely begins with an apostrophe (`'x`).

Promises of the pair for files that batch reads again: `unguard(guard(x)) == x` for every text; and `unguard` takes the
one apostrophe off whatever a person has made of the rest of the cell, since `guard` puts one more before every text
that has an apostrophe in front by itself.
"""

import polars as pl

FORMULA = r"^'*(?:[=@\t\r]|[+-][0-9\s.,()/-]*[^0-9\s.,()/-])"
"""Apostrophes, then what begins a formula: a sign only if anything follows that is not part of a number."""


def escape_formula(text: pl.Expr) -> pl.Expr:
    """Return the text, with an apostrophe in front if a spreadsheet program would execute it."""
    return pl.when(text.str.contains(FORMULA)).then(pl.lit("'") + text).otherwise(text).name.keep()


def guard(text: pl.Expr) -> pl.Expr:
    """Return the text, with an apostrophe in front if a spreadsheet program would execute it, or it has one itself."""
    is_guarded = text.str.contains(FORMULA) | text.str.starts_with("'")
    return pl.when(is_guarded).then(pl.lit("'") + text).otherwise(text).name.keep()


def unguard(text: pl.Expr) -> pl.Expr:
    """Return the text without that apostrophe."""
    return text.str.strip_prefix("'")


def has_own_apostrophe(text: pl.Expr) -> pl.Expr:
    """Return whether the apostrophe of a text is one that `guard` does not write: before what needs no guard."""
    return text.str.starts_with("'") & ~text.str.starts_with("''") & ~text.str.contains(FORMULA)
