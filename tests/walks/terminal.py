"""A real terminal, that of tmux, in which a person types and looks at the screen."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

TMUX = shutil.which("tmux")
PROMPT = "$"
SECONDS = 60.0


class Terminal:
    """A shell in a terminal of `columns` by `lines`; its settings come from no file of this machine."""

    def __init__(self, folder: Path, columns: int, lines: int, environment: Mapping[str, str]) -> None:
        self._sockets = tempfile.TemporaryDirectory(prefix="walk-")
        shell = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        shell += ["PS1=$ ", "bash", "--norc", "--noprofile"]
        self._tmux(
            "-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(lines), "-c", str(folder), *shell
        )
        self._tmux("set", "-g", "status", "off")
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))
        self.wait_for(PROMPT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._tmux("kill-server")
        self._sockets.cleanup()

    def type(self, text: str, end: str) -> list[str]:
        """Type a line, press Enter, and return the screen when its last line is again one that ends with `end`."""
        before = self.screen()
        self.begin(text)
        return self.wait_for(end, other_than=before)

    def begin(self, text: str) -> None:
        """Type a line, and press Enter."""
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key, such as `C-c`."""
        self._tmux("send-keys", key)

    def wait_to_see(self, words: str) -> None:
        """Wait until these words are on the screen, wherever they are."""
        until = time.monotonic() + SECONDS
        while words not in " ".join(map(str.strip, self.screen())):
            if time.monotonic() > until:
                raise AssertionError(f"The screen never showed {words!r}:\n" + "\n".join(self.screen()))
            time.sleep(0.03)

    def clear(self) -> None:
        """Empty the screen, as Ctrl-L does."""
        self._tmux("send-keys", "C-l")
        self.wait_for(PROMPT, lines=1)

    def wait_for(self, end: str, lines: int = 0, other_than: Sequence[str] = ()) -> list[str]:
        """Return the screen when its last line ends with `end`, and it has no more than `lines` of them."""
        until = time.monotonic() + SECONDS
        while True:
            screen = self.screen()
            is_at_end = screen and (screen[-1] == end if end == PROMPT else screen[-1].endswith(end))
            if is_at_end and (not lines or len(screen) <= lines) and screen != other_than:
                return screen
            if time.monotonic() > until:
                raise AssertionError(f"The screen never ended with {end!r}:\n" + "\n".join(screen))
            time.sleep(0.03)

    def screen(self) -> list[str]:
        """Return the lines that are to be seen, without the empty ones below."""
        shown = self._tmux("capture-pane", "-p").split("\n")
        while shown and not shown[-1].strip():
            shown.pop()
        return [line.rstrip() for line in shown]

    def _tmux(self, *words: str) -> str:
        assert TMUX is not None
        ended = subprocess.run(
            [TMUX, "-S", f"{self._sockets.name}/tmux", *words], capture_output=True, text=True, check=True, timeout=20
        )
        return ended.stdout
