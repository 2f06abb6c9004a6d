"""The codes of all problems of rows, each with the sentence that is made of it for screens and files.

Promises: a code is stable: scripts and older journals know it, so it is never renamed, reused or removed; its sentence
may change. Text that came from an API has the code `API` and its own words; what 0.1 wrote down has the code "".
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

Scalar: TypeAlias = str | int | float | bool | None
Values: TypeAlias = Mapping[str, Scalar]
"""What a sentence names, as JSON keeps it."""

API: Final = "api"
SENTENCES: Final[Mapping[str, str]] = {
    # the file could not be read with certainty: CSV
    "cells_missing": "has {cells:cell} where the header has {width} (add the delimiters of its blank cells; a text with line breaks needs quotation marks around it)",
    "cells_too_many": "has {cells:cell} where the header has {width} (a delimiter inside a text needs quotation marks around the text)",
    "control_character": "has a character that is none in this encoding (type the cell again, or try another --encoding)",
    "lost_character": "has a character that could not be read (type the cell again; if many are like this, try another --encoding)",
    "misplaced": "has its values under the wrong headers (move them until batch_row and batch_outcome stand under theirs; or write the row again without them)",
    "nul_character": "has a NUL character in it (type it again)",
    "quote_in_cell": 'has a quotation mark in it, but does not begin with one (write "" for it, and " around the cell)',
    "quote_in_row": 'has a quotation mark too many or too few (write "" for one inside a text, and " around the text)',
    "quote_not_closed": "has a quotation mark that opens a cell and is never closed (close it or delete it)",
    "rows_swallowed": "has a quoted cell that runs on into lines which look like rows (is its closing quotation mark missing?)",
    # Excel
    "date_early": "is a date before March 1900, which Excel and LibreOffice show as different days (make the cell text, and type the date, like 1899-12-31)",
    "date_late": "is later than any date that Excel knows (type the date again)",
    "date_negative": "is a negative date, which Excel cannot show (type the date again)",
    "excel_error": "is an Excel error, not a value (type the value, or empty the cell to leave the field as it is)",
    "formula_uncalculated": "is a formula without a stored value (open the file in Excel or LibreOffice, save it, and run again)",
    "merged": "lies in merged cells, and only their first cell has a value (unmerge them, and fill in what is meant)",
    "number_malformed": "is no number (type the value again)",
    "number_rounded": "has more than 15 digits, so Excel has rounded it (make the cell text, and type all digits again)",
    "time_negative": "is a negative time (make the cell text, and type what is meant)",
    "number_without_format": "is stored as a number, and how it is shown cannot be seen in this kind of file (save it as .xlsx, or make the cell text and type it again)",
    "zeros_not_stored": "is shown with zeros in front that are not stored (make the cell text, and type it with its zeros; or, to take what is shown: --as-shown COLUMN)",
    "date_among_texts": "is a date among texts, perhaps made by the spreadsheet program (make the cell text, and type what is meant; or name the column: --as-shown)",
    "not_shown_alike": "has a format that does not look the same everywhere, so --as-shown cannot tell what it shows (make the cell text, and type what is meant)",
    "zeros_elsewhere": "is a number that another cell of the column shows with zeros in front (make the cell text, and type it with its zeros; or name the column: --as-shown)",
    # Parquet
    "item_ambiguous": "is a list with an empty item or one with a semicolon in it, which separates items (change the item)",
    "number_not_finite": "is no number (leave the cell null, or give a number)",
    # ids and keys
    "id_empty": "is empty (every row needs the {noun}'s id)",
    "id_malformed": "is no {noun} id ({form})",
    "id_of_other_form": "is not a {api} {noun} id ({form})",
    "id_of_other_key": "is not the id of the {noun} with this {field}, which is {ids} (correct one of them)",
    "id_too_large": "is too large for a {api} {noun} id",
    "id_with_zero": "begins with a zero, as {api}'s own ids never do (is it your own {noun} number?)",
    "key_ambiguous": "belongs to {count} {plural} (ids {ids}): say which one by its id",
    "key_invisible": "cannot be looked up (it has invisible characters)",
    "key_not_narrowed": "cannot be found: the API does not narrow down {field}",
    "key_spelt_otherwise": 'is no {noun}\'s {field} ("{near}", id {id}, is spelt differently)',
    "key_unaddressable": "cannot be looked up as {field}: a web address cannot carry it",
    "key_unknown": "is no {noun}'s {field}",
    "key_unsure": "was found nowhere, and the API's lists are not complete enough to tell that no {noun} has this {field}",
    "lookup_failed": "could not be looked up: {cause}",
    # cells
    "boolean_unclear": "is neither yes nor no (use true, false, yes, no, 1 or 0)",
    "clear_among_items": "has {token} among its items (write {token} alone in the cell to empty the list)",
    "clear_nearly": "is not quite {token} (write exactly {token} to empty the field)",
    "date_ambiguous": "may be day/month/year or month/day/year (say which: --date-format dmy or --date-format mdy)",
    "date_malformed": "is not a date (write it as 2026-04-03)",
    "form_differs": "does not fit ({form})",
    "form_has_letters": "has letters in it ({form})",
    "list_empty": "has no item in it (use <clear> to empty the list, or leave the cell blank)",
    "not_among": "is not one of {options}",
    "not_among_but_near": "is not one of {options}; did you mean {near}?",
    "not_clearable": "cannot be cleared: this field may not be empty (write a value, or leave the cell blank)",
    "not_of_type": "cannot be read as {limits}",
    "number_ambiguous": "may mean {whole}{part} or {whole}.{part} (say which mark is the decimal one: --decimal)",
    "number_too_long": "has more digits than can be sent without rounding it (use at most 15 digits)",
    "number_unreadable": "is not a number (use digits, a minus sign and one decimal mark)",
    "sheet_error": "is an error of the spreadsheet program, no value (correct the formula, or leave the cell blank)",
    "text_too_long": "is {length} characters long (at most {most})",
    "text_too_short": "is too short (at least {least:character})",
    "whole_set": "cannot be set as a whole (use one column for each part, or <clear> to empty it)",
    # cells and rows that do not go together
    "contacts_gap": "would leave a gap: the {noun} has {count:contact}",
    "current_needed": "needs the current {what} (leave out --no-compare)",
    "custom_field_of_ids": "is the name of several custom fields of this {noun}: {ids} (name the one that is meant)",
    "custom_field_of_none": "is the name of several custom fields, and this {noun} has none of them, so nothing is sent",
    "custom_field_of_sources": "is the name of several custom fields of this {noun} ({sources}), so nothing is sent",
    "custom_field_twice": "is the same custom field of this {noun} as {other} (keep one column)",
    "duplicate_differs": 'differs between rows of one {noun}: row {first} says "{said}", row {second} "{other}"',
    "duplicate_of_conflicting": "is also in rows that do not go together on {field} (correct those)",
    "duplicate_of_differing": "is also in rows {first} and {second}, which differ on {field} (correct those)",
    "nothing_set": "no cell of this row sets anything",
    "parts_missing": "needs {parts} in the same row (an address is replaced whole)",
    "parts_unknown": "needs {parts} in the same row (no current address is there to take them from)",
    "request_too_large": "makes a request of {size} KB ({api} takes at most {most} KB)",
    "whole_cleared": 'cannot be changed while "{whole}" is cleared for the same {noun}',
    "whole_cleared_in_row": 'cannot be changed while "{whole}" is cleared for the same {noun} (row {row})',
    "zeros_lost": "is a number that the record shows with zeros in front, {now} (make the cell text, and type it with its zeros; or name the column: --as-shown)",
    # the record is not there, not readable, or not as planned
    "cells_moved": "is not the id that the other cells of the row were pulled with: its cells were moved (pull again, or empty batch_pulled to send the row as it is)",
    "conflict_now": "it is {now} now, where this row expects {expected}",
    "conflict_pulled": "it is {now} now, and was {expected} when it was pulled, to become {wanted} (somebody else changed it: pull again, or write over it with --overwrite)",
    "conflict_pulled_part": "{part} goes with it: that is {now} now, and was {expected} when it was pulled, so that {wanted} was not written (somebody else changed it: pull again, or write over it with --overwrite)",
    "conflict_seen": "it is {now} now, and was {expected} when the run of this failures file looked, to become {wanted} (it was changed since{later}: empty the cell, or write over it with --overwrite)",
    "conflict_seen_part": "{part} goes with it: that is {now} now, and was {expected} when the run of this failures file looked, so that {wanted} was not written (it was changed since{later}: empty the cell, or write over it with --overwrite)",
    "not_edited": "no cell of this row was edited since it was pulled",
    "seen_damaged": "is not as the failures file had it (empty it to send the row as it is)",
    "pulled_damaged": "is not as it was pulled (pull again, or empty it to send the row as it is)",
    "not_exact": "the record has {what}, which cannot be written back exactly, so nothing was sent (look at the record, and correct it by hand)",
    "not_found": "there is no {noun} with this id",
    "not_found_on_write": "there is no {noun} with this id (404)",
    "other_record_read": "the record could not be read: the API answered with another one",
    "plan_blind": "it is {now} now, and could not be seen when the plan was made, to become {wanted} (plan again)",
    "plan_drifted": "it is {now} now, and was {expected} when the plan was made, to become {wanted} (plan again)",
    "plan_drifted_part": "{part} goes with it: that is {now} now, and was {expected} when the plan was made, so that {wanted} was not written (plan again)",
    "plan_drifted_hidden": "it cannot be seen now, and was {expected} when the plan was made, to become {wanted} (plan again)",
    "plan_of_other": "the plan is for {noun} {id}",
    "sheet_drifted": "it is {now} now, and was {expected} when the plan was made (plan again)",
    "sheet_drifted_hidden": "it cannot be seen now, and was {expected} when the plan was made (plan again)",
    "whole_unseen": "{whole} is written as a whole, and the API does not show what it is now, so nothing was sent",
    "replayed_in_doubt": (
        "the API may only have repeated what it said to an earlier start, and the record was not looked at "
        "for long enough before the stop: it may have been applied or not"
    ),
    "unread": "the record could not be read: {cause}",
    # what came of sending it
    "awaits_approval": "a change awaits approval, and an earlier run asked for the same: approve it at the API, or withdraw it",
    "custom_field_spelt": 'the record spells it "{spelt}", and that custom field was meant',
    "ended_in_doubt": "batch was ended before an answer came: it may have been applied or not",
    "fill_kept": "it is {now} already, so {wanted} was not written (--only-empty)",
    "fill_kept_part": "{part} goes with it, and is {now} already, so {wanted} was not written (--only-empty)",
    "fill_unseen": "the API does not show whether it is empty, so nothing was sent (--only-empty)",
    "found_applied": "no answer came, but reading back showed that it was applied",
    "found_applied_after": "{cause}, but reading back showed that it was applied",
    "found_later": "at an earlier start: {cause}; the record has the value now, whoever wrote it",
    "no_longer_so": "an earlier start made this change, and the record shows something else now",
    "in_doubt": "{cause}: it may have been applied or not",
    "not_applied": "{cause}, and the record does not show it so far",
    "not_read_back": "the API confirmed the change; it was not read back, since the run was being stopped",
    "not_shown": "the API accepted the change, but still shows {now} instead of {wanted}",
    "not_compared": "the API confirmed the change; its answer does not show all of it, and nothing was read (--no-compare)",
    "not_verified": "the API confirmed the change, but neither its answer nor a read shows it: look at the record",
    "other_record": "the API answered with another record ({id}): look at both before going on",
    "part_applied": "changed all the same: {parts}",
    "pending": "updated, {note}",
    "not_looked_at": "as an earlier start left it, and not looked at again since",
    "refused": "{cause}",
    "refused_in_doubt": "{cause}, but an earlier try may have been applied or not",
    "refused_unread": "{cause}, but a try may have been applied or not, and the record could not be read",
    "spelling_kept": "sent; the API keeps its own spelling, {now}",
    "spelling_known": "not sent again; the API keeps its own spelling, {now}",
    "spelling_made": "the API made {now} of it, which is another spelling of the same",
    "shows_neither": "the record now shows {now}: it was {before}, and {wanted} was sent (somebody else may have changed it)",
    "tries_failed": "{cause}",
    "unread_again": "{cause}, and what is sent is made of it",
    "wrote_over": "somebody had changed it meanwhile, from {before} to {now}; the sheet's value was written over that",
    # what an undo leaves as it is
    "kept_added": "kept: the run added it, and its neighbours were changed since (look at it by hand)",
    "kept_drifted": "kept: it is {now} now, and the run had written {written} over {before}",
    "kept_found": "kept: a later start of the run found this value, and it is not known who wrote it",
    "kept_hidden": "kept: it cannot be seen now, and the run had written {written} over {before}",
    "kept_not_clearable": "kept: it was empty before, and the API does not let this field be emptied",
    "kept_part": "kept: {part} goes with it, and is {now} now, where the run had left {written}",
    "kept_pending": "kept: the change waited for approval and does not show; withdraw it at the API, or it may still come",
    "put_back_without": "put back without {parts}, which the API alone writes",
    "kept_unread": "kept: it was not read before it was changed (--no-compare), so what it was is not known",
}
"""Code -> sentence. `{name}` is a value, `{count:cell}` a number with its noun: 1 cell, 3 cells."""


class _Count(int):
    def __format__(self, noun: str) -> str:
        return f"{int(self)} {noun}{'' if self == 1 else 's'}" if noun else str(int(self))


def sentence(code: str, values: Values) -> str:
    """Make the sentence of a code; raises ValueError where the code is not known or a value is missing."""
    try:
        counted = {name: _Count(value) if type(value) is int else value for name, value in values.items()}
        return SENTENCES[code].format_map(counted)
    except KeyError as error:
        raise ValueError(f"problem {code!r}: {error} is not known") from error
