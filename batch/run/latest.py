"""The links to the run of the latest start, in the folder where runs go: `latest`, and `latest-<input name>` beside it.

Promises: from the moment at which a start knows that folder, no link leads to a run of before; a start that ends with
exit code 2 leaves none, and one that finds its input held puts back what was there. Only our own links are removed or
replaced: anything else of these names is refused. A link is relative, so that the folder can be moved.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from batch.addresses import is_address
from batch.errors import ExitCode, FolderError
from batch.exit_code import exit_code_of_error
from batch.files import os_reason, unusable_folder
from batch.input_names import file_stem, joined, split
from batch.machine import first_of
from batch.own_files import NAME, RESCUED, remove_empty
from batch.run.folder import runs_of
from batch.shard import Shard

LATEST = "latest"


@dataclass(slots=True)
class LatestLinks:
    """The links of one start."""

    parent: Path
    argument: str
    """The input, as it was named."""
    note: Callable[[str], None]
    _before: dict[Path, str] = field(default_factory=dict)
    _made: str = ""
    _is_new: bool = False

    @property
    def paths(self) -> tuple[Path, Path]:
        """Where the links are."""
        return self.parent / LATEST, self.parent / f"{LATEST}-{re.sub(r'[*?]+', '_', file_stem(self.argument))}"

    def remove(self) -> None:
        """Remove the links; raises FolderError where something else has their name, or they cannot be removed."""
        self._is_new = not os.path.exists(self.parent)
        if not os.access(self.parent, os.W_OK):
            return  # whoever is to write there says so
        for path in self.paths:
            target = target_of(path)
            if target:
                self._before[path] = target
            elif os.path.lexists(path):
                raise FolderError(
                    f"{path}: this name is for a link to the latest run, and something else has it. Move it away, or "
                    "name another folder with --out."
                )
        try:
            for path in self._before:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise unusable_folder(self.parent, error) from None

    def point_to(self, folder: Path) -> None:
        """Make the links; where there can be none, say so once."""
        if not _is_name_of_run(folder.name):  # so the link could not be told from somebody else's
            self.note(f"{self.paths[0]}: no link to this run is made, since its folder was renamed: {folder}")
            return
        self._made = os.path.relpath(folder.resolve(), self.parent.resolve())  # a run that is resumed may lie elsewhere
        try:
            for path in self.paths:
                _link(path, self._made)
        except OSError as error:
            self.note(f"{self.paths[0]}: no link to this run could be made ({os_reason(error).lower()}): {folder}")

    def restore(self) -> None:
        """Restore what was there, unless a start of meanwhile has its own."""
        for path, target in self._before.items():
            with suppress(OSError):
                path.symlink_to(target, target_is_directory=True)

    def settle(self, code: ExitCode | int, folder: Path | None = None) -> None:
        """Leave the links that belong to a start which ended with this exit code, and with its files in `folder`."""
        is_there = os.path.isdir(self.parent / self._made) and (folder is None or folder.name == Path(self._made).name)
        if code == ExitCode.BUSY:
            self.restore()
        elif code == ExitCode.COULD_NOT_START or not is_there:
            with suppress(OSError):  # other runs are in the folder
                for path in self.paths:
                    if (target := target_of(path)) and target in (self._made, self._before.get(path)):
                        path.unlink(missing_ok=True)
                if self._is_new:
                    self.parent.rmdir()
                remove_empty(self.parent)


def forget_latest(argument: str, out: Path | None, shard: Shard | None = None) -> None:
    """Remove the links of a start that could not even read its settings."""
    with suppress(FolderError):
        LatestLinks(runs_of(argument, out, shard), argument, lambda text: None).remove()


@contextmanager
def latest_links(parent: Path, argument: str, note: Callable[[str], None]) -> Iterator[LatestLinks]:
    """Take the links away that are in `parent`, and leave those that fit how this start ends."""
    links = LatestLinks(parent, argument, note)
    links.remove()
    try:
        yield links
    except BaseException as error:
        links.settle(exit_code_of_error(first_of(error)))
        raise


def target_of(path: Path) -> str:
    """Return the name of the run folder that a link of ours leads to, "" for anything else."""
    if not path.name.startswith(LATEST):
        return ""
    with suppress(OSError, ValueError):
        target = Path(os.readlink(path))
        is_of_runs = target.parent == Path() or target.parts[0] == ".." or target.parent.suffix == ".batch"
        return str(target) if _is_name_of_run(target.name) and is_of_runs else ""
    return ""


def _is_name_of_run(name: str) -> bool:
    return NAME.fullmatch(name) is not None or RESCUED.fullmatch(name) is not None


def without_links(path: Path) -> Path:
    """Return `path` by way of the run folders that links of ours in it lead to: they are about to be removed."""
    found = Path()
    for part in path.parts:
        found /= target_of(found / part) or part
    return found


def fixed_name(argument: str) -> str:
    """Return the name of an input that is found without the links, too; any other as it is."""
    if is_address(argument):
        return argument
    names = split(argument)
    fixed = [str(without_links(Path(name))) for name in names]
    return argument if fixed == [str(Path(name)) for name in names] else joined(fixed)


def _link(path: Path, target: str) -> None:
    for _ in range(9):  # another start may make one at this moment
        with suppress(FileExistsError):
            path.symlink_to(target, target_is_directory=True)
            return
        if not target_of(path):
            raise FileExistsError(17, "something else has this name")
        path.unlink(missing_ok=True)
