"""`summary.json`: how the summary of a run, or of a plan, is read, written and uploaded.

Promises: one that cannot be read is none; what became of an upload stands in the document itself.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from batch.documents import document_text
from batch.exit_code import exit_code_not_uploaded
from batch.files import write_private
from batch.own_files import SUMMARY
from batch.run.upload import Upload
from batch.summary import Files, Head, State, Stopped, Summary

D = TypeVar("D", bound=Head)


def set_state(folder: Path, state: State) -> None:
    """Say in the summary of a run what became of it since; one that cannot be read or written is left as it is."""
    known = read_summary(folder)
    with suppress(OSError):
        if known:
            _write_json(folder / SUMMARY, {**known, "state": state})


def read_summary(folder: Path) -> Mapping[str, Any]:
    """Return the summary of a run as it was written last; empty where there is none."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def write_summary(
    folder: Path, summary: Summary, upload: Upload | None = None, *, keeps_code: bool = False, until: float = math.inf
) -> Summary:
    """Write `summary.json`, upload the files that it names, and return it as it is then; see `upload_files`."""
    upload = upload or Upload()
    summary = with_places(folder, summary, upload)
    text = _write_json(folder / SUMMARY, summary.as_dict())
    ended = upload_files(folder, summary, text, upload, keeps_code=keeps_code, until=until)
    if upload.has_failed:
        _write_json(folder / SUMMARY, ended.as_dict())
    return ended


def with_places(folder: Path, summary: D, upload: Upload) -> D:
    """Return a document that says where its files will be at the address."""
    return replace(summary, uploaded=upload.places(folder, summary.files))


def upload_files(
    folder: Path, summary: D, text: str, upload: Upload, *, keeps_code: bool = False, until: float = math.inf
) -> D:
    """Upload the files of a document that is `text`, and return it as it is then: where that failed, it says so.

    `keeps_code`: somebody has to look at the records first, whatever became of the upload. `until` is on the monotonic
    clock.
    """
    trouble = upload.send(folder, summary, text, until)
    if not trouble:
        return summary
    before = summary.stopped
    message = f"{trouble} So the results could not be uploaded; they are here: {folder.resolve()}"
    stopped = Stopped("upload", message, "Run the same command again: it uploads them.")
    if before is not None:
        stopped = replace(before, message=f"{before.message} {message}")
    state: State | None = "unfinished" if summary.state in ("finished", "to fix") else summary.state
    code = summary.exit_code if keeps_code else int(exit_code_not_uploaded(summary.exit_code))
    ended = replace(summary, uploaded=Files(), exit_code=code, stopped=stopped, state=state)
    upload.tell_stopped(folder, ended)
    return ended


def failures_in(folder: Path) -> dict[str, str]:
    """Return the failures files that the summary names, by what they are."""
    known = read_summary(folder).get("files") or {}
    names = {name: Path(path).name for name, path in known.items() if name.startswith("failures")}
    return {name: file for name, file in names.items() if (folder / file).is_file()}


def paths_in(folder: Path, files: Mapping[str, str]) -> Files:
    """Return where the files of a run are, by what they are."""
    return Files({name: str((folder / file).resolve()) for name, file in files.items()})


def _write_json(path: Path, values: Mapping[str, Any]) -> str:
    text = document_text(values)
    write_private(path, text)
    return text
