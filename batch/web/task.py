"""A command that goes on while people look: in a thread, with what it said, asks and reached kept for every window.

Promises: a command asks as it does on a terminal, and waits until a window answers, once; what ends the page ends it as
Ctrl-C does; nothing of it depends on a window that is open.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition, Thread
from typing import Any, Final, Literal

from batch.conditions import PlannedChange
from batch.engine.reporter import CANARY, Cost, Preflight, Progress, Tried
from batch.errors import BatchError, CancelledError, Declined, ExitCode
from batch.library.jobs import Call, perform
from batch.machine import first_of
from batch.outputs.plan import CLEARED, Line, iter_lines

PROGRESS_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.2
NOTES: Final = 200
"""The latest so many are kept."""
SHOWN_CHANGES: Final = 200
"""Changes that a question shows."""
Job = Callable[["WebReporter"], Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody has to answer before the command goes on."""

    number: int
    """No other question of this task has it, so that an answer cannot be taken for another's."""
    text: str
    about: tuple[str, ...] = ()
    """What was said just before, to decide by."""
    options: tuple[str, ...] = ()
    """What may be chosen, none where it is answered by yes or no, or by a text."""
    is_text: bool = False
    default: str = ""
    preflight: Preflight | None = None
    """What is about to happen, where that is what is asked about."""
    tried: Tried | None = None
    """The first few changes, which hold, where it is asked about the others."""
    changes: tuple[tuple[Line, ...], ...] = ()
    """The first changes, each as the lines of its cells."""


@dataclass(slots=True)
class Task:
    """What a command is at; `changed` grows whenever any of it does."""

    name: str
    """What it does: "check", "plan", "update", "undo", "resume"."""
    call: Call = field(default_factory=Call)
    notes: list[str] = field(default_factory=list)
    question: Question | None = None
    progress: Progress | None = None
    cost: Cost | None = None
    result: Any = None
    error: BaseException | None = None
    is_over: bool = False
    changed: int = 0
    condition: Condition = field(default_factory=Condition, repr=False)
    _answer: Any = None
    _asked: int = 0
    _heard: int = 0
    """How many notes had been said when the last question was asked."""
    _thread: Thread | None = None

    def start(self, job: Job, then: Callable[["Task"], None] = lambda task: None) -> None:
        """Begin; `then` is called in the thread of the job when it is over."""
        self._thread = Thread(target=self._work, args=(job, then), name=f"batch {self.name}", daemon=True)
        self._thread.start()

    def _work(self, job: Job, then: Callable[["Task"], None]) -> None:
        reporter = WebReporter(self)
        try:
            self.result = perform(lambda call: job(reporter), self.call)
        except BaseException as error:  # whatever it is, the page says it, and goes on
            self.error = first_of(error)
        with self.condition:
            self.question = None
        try:
            then(self)
        finally:
            self.is_over = True
            self.tell()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self.call.stop.set()
        self.tell()

    def wait(self, seconds: float) -> bool:
        """Wait until it is over; False where it is not by then."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.is_over

    @property
    def is_stopping(self) -> bool:
        """Whether somebody stopped it."""
        return self.call.stop.is_set()

    @property
    def said(self) -> str:
        """Why it did not come to its end, as sentences; "" where it did, or where somebody meant it."""
        match self.error:
            case None | Declined() | CancelledError():
                return ""
            case BatchError():
                return str(self.error)
        return "A bug in batch ended it. Nothing that was done is lost. Please report it."

    def tell(self) -> None:
        """Wake whoever looks."""
        with self.condition:
            self.changed += 1
            self.condition.notify_all()

    # -- questions ----------------------------------------------------------------------------------------------

    def ask(self, text: str, **about: Any) -> Any:
        """Ask, and wait for the answer; raises KeyboardInterrupt where it is ended instead."""
        with self.condition:
            self._asked += 1
            said = tuple(self.notes[self._heard :][-20:])
            self._answer, self.question = None, Question(self._asked, text, said, **about)
            self._heard = len(self.notes)
        self.tell()
        with self.condition:
            while not self.condition.wait_for(lambda: self.question is None, LOOK_SECONDS):
                if self.is_stopping:
                    self.question = None
                    raise KeyboardInterrupt
            return self._answer

    def answer(self, number: int, answer: Any) -> bool:
        """Give the answer to a question; False where that was answered already."""
        with self.condition:
            if self.question is None or self.question.number != number:
                return False
            self._answer, self.question = answer, None
        self.tell()
        return True


@dataclass(slots=True)
class WebReporter:
    """Whoever looks at the page: is told what a task does, and asked where it asks."""

    task: Task
    sends: bool | Literal["canary"] | None = None
    """The answer to "Send?", where it was given by the button; None: it is asked."""
    can_ask: bool = True
    interval: float | None = PROGRESS_SECONDS

    def note(self, text: str) -> None:
        """Keep what a person should know."""
        self.task.notes.append(text)
        del self.task.notes[:-NOTES]
        self.task.tell()

    def ask(self, question: str) -> bool:
        """Ask about what is odd."""
        return bool(self.task.ask(question))

    def ask_text(self, question: str, default: str = "") -> str:
        """Ask for a line of text."""
        return str(self.task.ask(question, is_text=True, default=default) or default)

    def choose(self, question: str, options: Sequence[str]) -> int | None:
        """Ask which one is meant."""
        chosen = self.task.ask(question, options=tuple(options))
        return chosen if isinstance(chosen, int) and 0 <= chosen < len(options) else None

    def cost(self, cost: Cost) -> None:
        """Keep what reading takes."""
        self.task.cost = cost
        self.task.tell()

    def confirm(self, preflight: Preflight) -> bool | Literal["canary"]:
        """Ask whether to send, unless the button said it; about cells that would be emptied it is asked in any case."""
        if self.sends is not None and not preflight.excesses:
            return self.sends
        if self.sends is not None:
            for one in preflight.excesses:
                self.note(one)
            return self.sends if self.ask("More cells than usual would be emptied. Is that meant?") else False
        changes = preflight.compared.changes if preflight.compared else ()
        answer = self.task.ask("Send?", preflight=preflight, changes=_shown(changes))
        return CANARY if answer == CANARY else bool(answer)

    def confirm_rest(self, tried: Tried) -> bool:
        """Show the first few changes, which hold, and ask about the others; whoever stops here leaves these."""
        try:
            return bool(self.task.ask("Send the others?", tried=tried, changes=_shown(tried.changes)))
        except KeyboardInterrupt:
            return False

    def progress(self, progress: Progress) -> None:
        """Keep a moment of the run."""
        self.task.progress = progress
        self.task.tell()

    def pulled(self, count: int, total: int | None) -> None:
        """Leave it: nothing is pulled here."""

    def leave_at_once(self, code: ExitCode, why: str) -> None:
        """There is no terminal to give back."""


def _shown(changes: Iterable[PlannedChange]) -> tuple[tuple[Line, ...], ...]:
    """Return the first changes, each as the lines of its cells."""
    return tuple(tuple(iter_lines([one], CLEARED)) for one in islice(changes, SHOWN_CHANGES))
