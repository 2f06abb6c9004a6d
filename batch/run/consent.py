"""Asking a person about something odd, where going on by oneself would be wrong.

Promises: `--yes` never answers; the default is no; where nobody can be asked, the error names the option that settles
it.
"""

from collections.abc import Sequence
from typing import Protocol

from batch.errors import Declined, UsageError


class Person(Protocol):
    """Whoever watches a job and may be asked."""

    can_ask: bool
    """Whether there is somebody to answer."""

    def note(self, text: str) -> None:
        """Something the person should know: a whole sentence."""

    def ask(self, question: str) -> bool:
        """Ask about what is odd, where there is somebody to ask; the default is no."""

    def ask_text(self, question: str, default: str = "") -> str:
        """Ask for a line of text, where there is somebody to ask; Enter alone gives the default."""

    def choose(self, question: str, options: Sequence[str]) -> int | None:
        """Ask which of these is meant, where there is somebody to ask: its index, None for none of them."""


class Nobody:
    """The person of a job that nobody watches: it is told nothing, and answers no question."""

    can_ask: bool = False

    def note(self, text: str) -> None:
        """Leave it."""

    def ask(self, question: str) -> bool:
        """Say no."""
        return False

    def ask_text(self, question: str, default: str = "") -> str:
        """Say nothing."""
        return default

    def choose(self, question: str, options: Sequence[str]) -> int | None:
        """Choose none."""
        return None


def require_consent(
    person: Person,
    odd: str,
    instead: str,
    question: str = "Go on all the same?",
    otherwise: str = "Nothing was sent.",
) -> None:
    """Say what is odd, and ask.

    Raises UsageError, which ends with `instead` (an option that settles it), where nobody can be asked, and Declined
    with `otherwise` for no.
    """
    if not person.can_ask:
        raise UsageError(f"{odd} {instead}")
    person.note(odd)
    if not person.ask(question):
        raise Declined(otherwise)
