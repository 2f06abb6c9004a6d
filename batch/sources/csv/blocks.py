"""Text -> blocks of whole lines, as large as is needed and no larger.

A block is about a megabyte; only where one line or one quoted cell is longer does it grow, and shrinks again after it.
"""

from batch.errors import InputError
from batch.sources.csv.text import TextPieces

BLOCK = 1 << 20
"""Characters."""
MAX_LINE = 16 << 20


class Blocks:
    """Takes blocks from text that begins after the header; what is not used up is put back."""

    def __init__(self, pending: str, pieces: TextPieces, size: int) -> None:
        self._pending = pending
        self._pieces = pieces
        self._usual = self._size = size

    @property
    def is_at_end(self) -> bool:
        """Nothing comes after the block that was taken."""
        return self._pieces.is_at_end and not self._pending

    @property
    def has_grown(self) -> bool:
        """The block was taken for the sake of one long record at its beginning."""
        return self._size > self._usual

    def take(self) -> str:
        """Return the next block; "" at the end of the text."""
        while True:
            if len(self._pending) < self._size:
                self._pending += self._pieces.read(self._size - len(self._pending))
            if self._pieces.is_at_end and len(self._pending) <= self._size:
                block, self._pending = self._pending.removesuffix("\x1a"), ""
                return block
            if cut := self._find_cut():
                block, self._pending = self._pending[:cut], self._pending[cut:]
                return block
            self.grow("")

    def _find_cut(self) -> int:
        """Find the last line end that fits. A CR at the end of what was read may be half of a CR LF, so it waits."""
        stop = min(self._size, len(self._pending) - self._pending.endswith("\r"))
        cut = max(self._pending.rfind("\n", 0, stop), self._pending.rfind("\r", 0, stop)) + 1
        return cut + (cut > 0 and self._pending[cut - 1 : cut + 1] == "\r\n")

    def put_back(self, text: str) -> None:
        """Take what was not used up as the beginning of the next block, which has the usual size."""
        self._pending = text + self._pending
        self._size = self._usual

    def grow(self, text: str) -> None:
        """Put back a block in which not even one record ends; the next one is twice as large."""
        self._pending = text + self._pending
        self._size *= 2
        if len(self._pending) > MAX_LINE:
            raise InputError(f"has a line of more than {MAX_LINE:,} characters: this is no table of rows.")
