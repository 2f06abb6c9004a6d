"""An input at an address, opened: copied beside the runs, and read like any file.

Promises: what is said of it names the address, never the copy nor what is secret in the address; its identity is the
digest of its bytes, as that of any input.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from batch import sources
from batch.addresses import Address
from batch.errors import InputError
from batch.extras import ensure_extra
from batch.files import make_private
from batch.remote import CopiedInput, RemoteError, StorageAccess, check_encrypted, copy_input

EXTRA, MODULE = "cloud", "obstore"


def open_remote(
    full: str, access: StorageAccess, spool: Path, note: Callable[[str], None], run: Callable[..., Any]
) -> sources.Input:  # fmt: skip
    """Copy the input at the address `full` into the folder `spool`, and open the copy.

    `run` runs an async function to its end. Raises InputError, SettingsError or ExtraError.
    """
    address = Address.parse(full, "")
    if not address.is_web:
        ensure_extra(EXTRA, MODULE, f"reading {address.scheme}:// addresses", note)
    folder = spool / "copy"
    make_private(folder)
    try:
        check_encrypted(address, access)
        note(f"Copying {address} …")
        copied = run(copy_input, address, folder, access)
    except RemoteError as error:
        raise InputError(str(error)) from None
    try:
        found = sources.open_input(copied.argument, spool, note)
    except InputError as error:
        raise InputError(_of_address(str(error), copied, address)) from None
    is_file = len(found.files) == 1 and str(found.files[0].path) == copied.argument
    files = tuple(replace(one, name=_of_address(one.name, copied, address)) for one in found.files)
    return replace(found, files=files, name=address.name if is_file else str(address))


def _of_address(text: str, copied: CopiedInput, address: Address) -> str:
    """Say of the address what was said of its copy."""
    return text.replace(copied.argument, str(address)).replace(f"{copied.top}/", "")
