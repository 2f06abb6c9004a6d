"""A plan as one file for a colleague to approve and carry out: `customers.batch-plan.zip`.

    plan.json                 what is to be done, with its checksum
    plan.csv or plan.xlsx     the same, to be read
    input/customers.xlsx      the sheet that it was made of
    approval.json             who made it and when, a remark, and the settings that say what the sheet's cells mean

Promises: no key is in it, and no address is taken from it; nothing is unpacked but these names, bounded in size, into a
folder of its own (0700); what it says of people is told as what it says. A plan out of it goes by the rules for any
plan: input, settings, records and company are held against it.
"""

import json
import os
import re
import zipfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from batch.errors import InputError
from batch.files import NewFile, make_private, os_reason
from batch.model import shorten, visible
from batch.own_files import PLAN, PLAN_LISTS
from batch.run.plan_file import PlanFile
from batch.run.plan_list import lists_of
from batch.settings import SETTINGS, Layer, merge_layers

ENDING: Final = ".batch-plan.zip"
ABOUT: Final = "approval.json"
INPUTS: Final = "input/"
MOST_BYTES: Final = 1 << 30
"""Of all that is unpacked: a zip of a few kilobytes may hold any number."""
MOST_CHARACTERS: Final = 2_000
"""Of a remark."""
COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Approval:
    """What the file says of itself; nobody proved it."""

    by: str
    """Who made the plan, as their system calls them."""
    made: str
    """ISO 8601, UTC."""
    remark: str = ""

    @property
    def text(self) -> str:
        """Say it as what the file says."""
        is_time = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", self.made)
        when = f" on {self.made[:10]} {self.made[11:16]} UTC" if is_time else ""
        said = f"{visible(self.by) or 'somebody'}{when}, as the plan's file says"
        return f"{said}: {visible(self.remark)}" if self.remark else said


@dataclass(frozen=True, slots=True)
class OpenedApproval:
    """What was unpacked."""

    plan: Path
    """The folder with the plan."""
    input: Path
    about: Approval
    endpoint: str


def is_approval(path: Path) -> bool:
    """Whether a path is meant as such a file."""
    return path.name.casefold().endswith(".zip") and path.is_file()


def write_approval(path: Path, plan: Path, source: Path, about: Approval) -> None:
    """Write the plan in the folder `plan`, and its input, as one file; raises OSError."""
    file = NewFile(path, is_shared=True)
    try:
        with zipfile.ZipFile(file.made, "w", zipfile.ZIP_DEFLATED) as made:
            made.write(plan / PLAN, PLAN)
            for one in lists_of(plan):
                made.write(one, one.name)
            made.write(source, INPUTS + source.name)
            made.writestr(ABOUT, json.dumps(asdict(about), ensure_ascii=False, indent=2) + "\n")
        file.keep()
    finally:
        file.discard()


def open_approval(path: Path, folder: Path) -> OpenedApproval:
    """Unpack into `folder`, and check the plan's checksum; raises InputError where it is no such file."""
    make_private(folder)
    try:
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()
            sources = [one for one in names if one.startswith(INPUTS)]
            known = {PLAN, ABOUT, *PLAN_LISTS, *sources}
            if len(sources) != 1 or len(set(names)) != len(names) or not {PLAN, ABOUT} <= set(names) <= known:
                raise _odd(path, "it holds other files than a plan's")
            name = sources[0].removeprefix(INPUTS)
            if not _is_plain(name):
                raise _odd(path, "the name of its sheet is none")
            left = MOST_BYTES
            (folder / INPUTS).mkdir(mode=0o700, exist_ok=True)
            for one in names:
                with packed.open(one) as member:
                    left = _copy(member, folder / one, left, path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, UnicodeError) as error:
        raise _odd(path, f"it cannot be unpacked ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: it cannot be unpacked ({os_reason(error)}).") from None
    about = read_approval(folder)
    if about is None:
        raise _odd(path, "it does not say who made it")
    plan = PlanFile(folder / PLAN)
    try:
        return OpenedApproval(folder, folder / INPUTS / name, about, str(plan.about.get("endpoint", "")))
    finally:
        plan.close()


def read_approval(plan: Path) -> Approval | None:
    """Return what came with a plan that was unpacked; None for one that was made here."""
    folder = plan.parent if plan.is_file() else plan
    with suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        by, made, remark = (known[name] for name in ("by", "made", "remark"))
        if all(isinstance(one, str) for one in (by, made, remark)):
            return Approval(shorten(by, 100), shorten(made, 40), shorten(remark, MOST_CHARACTERS))
    return None


def planned_by(plan: Path) -> str:
    """Say who made a plan that a colleague sent; "" of one that was made here."""
    about = read_approval(plan)
    return about.text if about is not None else ""


def settings_of_plan(opened: OpenedApproval) -> dict[str, Any]:
    """Return the settings that carry out just this plan: itself, and what its input's cells mean."""
    plan = PlanFile(opened.plan / PLAN)
    try:
        known = {name: value for name, value in plan.about.items() if name in SETTINGS and SETTINGS[name].in_identity}
    finally:
        plan.close()
    meaning = merge_layers([Layer(str(opened.plan / PLAN), known)])
    return {name: getattr(meaning, name) for name in known} | {"plan": opened.plan}


def _copy(member: IO[bytes], target: Path, most: int, path: Path) -> int:
    """Copy what is packed, and return how many bytes more may be."""
    new = NewFile(target, is_shared=True)
    try:
        with new.made.open("wb") as file:
            while some := member.read(COPY_BYTES):
                most -= len(some)
                if most < 0:
                    raise _odd(path, "there is more in it than a plan can hold")
                file.write(some)
        new.keep()
    finally:
        new.discard()
    return most


def _is_plain(name: str) -> bool:
    return (
        bool(name) and name == os.path.basename(name) and "\\" not in name and not name.startswith(".")
        and name.isprintable() and len(name) <= 200
    )  # fmt: skip


def _odd(path: Path, why: str) -> InputError:
    return InputError(f"{path.name}: this is not a plan that was saved for approval: {why}. Nothing was sent.")
