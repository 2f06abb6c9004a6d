"""Problems that a test words as it likes."""

from batch.model import Problem


def worded(text: str, field: str = "", header: str = "", cell: str = "", seen: str = "") -> Problem:
    """Build a problem as 0.1 wrote them down: with words and no code."""
    return Problem("", field=field, header=header, cell=cell, seen=seen, text=text)
