"""The run folder that a person means: the one that is named, or the newest of a folder of runs.

Promises: a folder of runs is never taken for one of them without a question.
"""

from pathlib import Path

from batch.own_files import is_own
from batch.run.consent import Person, require_consent
from batch.run.folder import list_runs
from batch.run.latest import without_links


def named_run(folder: Path, person: Person, holding: tuple[str, ...], otherwise: str = "Nothing was sent.") -> Path:
    """Return the run folder that `folder` is or links to; given the folder around runs, ask about the newest.

    `holding`: the newest that has one of these files. Raises UsageError where nobody can be asked, and Declined
    (which ends with `otherwise`) for no.
    """
    folder = without_links(folder)
    if folder.is_file() or is_own(folder):
        return folder
    newest = next((one for one in list_runs(folder) if any((one / name).is_file() for name in holding)), None)
    if newest is None:
        return folder
    require_consent(
        person,
        f"{folder}: this is a folder of runs, and the newest in it is {newest}.",
        "Name that one, or another one.",
        "Take that one?",
        otherwise,
    )
    return newest
