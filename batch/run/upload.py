"""Results at an address (`--out s3://…`): written there when a start ends, however it ends; the run itself lies here.

    <address>/latest.json                       the latest start: which run, its state, its files
    <address>/<UTC time>-<run>/results.csv      and the other files of a run, as in its folder here

Promises: whether the address can be written is known before anything is sent; `latest.json` is written last, and says
that a run goes on until its files are there, or that it stopped without them; an upload that fails changes no outcome,
and the same command tries it again; after a signal it ends in time. The record of the run (the journal) and the rows as
they were read are not uploaded.
"""

import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio

from batch.addresses import Address, is_address
from batch.documents import document_text
from batch.errors import ExitCode, FolderError
from batch.exit_code import exit_code_of_error
from batch.extras import ensure_extra
from batch.machine import first_of, now_text
from batch.own_files import SUMMARY
from batch.remote import ObjectStore, RemoteError, StorageAccess
from batch.run.remote_input import EXTRA, MODULE
from batch.summary import SCHEMA_VERSION, Files, Head

LATEST: Final = "latest.json"
NOT_UPLOADED: Final = ("journal",)
"""Files of a run that stay where it lies."""
SOON: Final = 3.0
"""Seconds that it may take to say there how a start ended whose files are not there."""
_KINDS = [f"{kind}.{end}" for kind in ("results", "failures") for end in ("csv", "xlsx", "parquet", "ndjson")]


@dataclass(slots=True)
class Upload:
    """Where the files of a start go beside its run folder; nowhere where there is no store."""

    store: ObjectStore | None = None
    run: Callable[..., Any] = field(default=lambda *_: None, repr=False)
    """Runs an async function to its end."""
    input: str = ""
    started: str = ""
    _trouble: str = ""
    """Why nothing can be written there."""
    _mark: str = ""
    """What tells its folder from that of another start of this second, elsewhere."""

    @property
    def is_wanted(self) -> bool:
        """Whether files go anywhere."""
        return self.store is not None

    @property
    def has_failed(self) -> bool:
        """Whether something could not be written there."""
        return bool(self._trouble)

    async def begin(self, folder: Path, run_id: str) -> None:
        """Say at the address that the run goes on; raises FolderError where that cannot be written."""
        if self.store is None:
            return
        self._mark = run_id[:8]
        try:
            known = {"run_id": run_id, "run": f"{self._place(folder)}/", "state": "running", "exit_code": None}
            await self._write_latest(self.store, known)
        except RemoteError as error:
            self._trouble = str(error)
            raise FolderError(f"{error} Results are to go there (--out), so nothing was sent.") from None

    def places(self, folder: Path, files: Mapping[str, str]) -> Files:
        """Return where the files of a run will be, by what they are."""
        if self.store is None:
            return Files()
        sent = {name: path for name, path in files.items() if name not in NOT_UPLOADED}
        names = {name: Path(path).name for name, path in sent.items()} | {"summary": SUMMARY}
        return Files({name: f"{self._place(folder)}/{file}" for name, file in names.items()})

    def send(self, folder: Path, summary: Head, text: str, until: float = math.inf) -> str:
        """Write the files of a run that came to an end, and `text` as its summary; return why not, "" where all are.

        `until` is on the monotonic clock.
        """
        if self.store is None:
            return ""
        if not self._trouble:
            try:
                self.run(_within, until - time.monotonic(), self._send, self.store, folder, summary, text)
            except RemoteError as error:
                self._trouble = str(error)
            except TimeoutError:
                self._trouble = f"{self.store.address}: there was no time left for the upload (--grace)."
            except KeyboardInterrupt:  # the second one, or a machine that goes down
                self._trouble = f"{self.store.address}: the upload was interrupted."
        return self._trouble

    async def _send(self, store: ObjectStore, folder: Path, summary: Head, text: str) -> None:
        place = self._key(folder)
        sent = [Path(path) for name, path in summary.files.items() if name not in NOT_UPLOADED]
        for path in sent:
            await store.write(f"{place}/{path.name}", path)
        if summary.resumed:
            for name in set(_KINDS) - {path.name for path in sent}:
                with suppress(RemoteError):  # who may write there may not remove
                    await store.remove(f"{place}/{name}")
        await store.write(f"{place}/{SUMMARY}", text.encode())
        known = {
            "run_id": summary.run_id or None, "run": f"{self._place(folder)}/", "state": summary.state,
            "exit_code": summary.exit_code, "files": dict(self.places(folder, summary.files)),
        }  # fmt: skip
        await self._write_latest(store, known)

    def tell_stopped(self, folder: Path, summary: Head) -> None:
        """Say at the address how a run ended whose files are not there, as far as that can be written soon."""
        self._tell({
            "run_id": summary.run_id or None, "run": f"{self._place(folder)}/" if self.is_wanted else None,
            "state": summary.state, "exit_code": summary.exit_code, "files": {},
        })  # fmt: skip

    def tell_failed(self, code: ExitCode) -> None:
        """Say at the address that the latest start could not begin, as far as that can be written soon."""
        if not self._trouble and code is not ExitCode.BUSY:
            self._tell({"run_id": None, "run": None, "state": None, "exit_code": int(code)})

    def _tell(self, known: Mapping[str, Any]) -> None:
        if self.store is not None:
            with suppress(RemoteError, TimeoutError, KeyboardInterrupt):
                self.run(_within, SOON, self._write_latest, self.store, known)

    async def _write_latest(self, store: ObjectStore, known: Mapping[str, Any]) -> None:
        about = {"schema_version": SCHEMA_VERSION, "input": self.input, "started": self.started, "written": now_text()}
        text = document_text({**about, **known})
        await store.write("/".join(filter(None, (store.address.key.strip("/"), LATEST))), text.encode())

    def _key(self, folder: Path) -> str:
        assert self.store is not None  # noqa: S101 - for the type checker
        self._mark = self._mark or secrets.token_hex(4)
        return "/".join(filter(None, (self.store.address.key.strip("/"), f"{folder.name}-{self._mark}")))

    def _place(self, folder: Path) -> str:
        assert self.store is not None  # noqa: S101 - for the type checker
        return f"{self.store.address.store}/{self._key(folder)}"


async def _within(seconds: float, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """Await a function; raises TimeoutError where it takes longer."""
    with anyio.fail_after(max(0.0, seconds)):
        await function(*arguments)


@contextmanager
def uploading(
    out: str, access: StorageAccess, input: str, run: Callable[..., Any], note: Callable[[str], None]
) -> Iterator[Upload]:  # fmt: skip
    """Give what uploads the results of a start on `input`; nothing does where `out` is no address.

    `run` runs an async function to its end. Raises SettingsError, ExtraError or FolderError where nothing can.
    """
    if not is_address(out):
        yield Upload()
        return
    address = Address.parse(out, "--out ")
    ensure_extra(EXTRA, MODULE, f"writing to {address.scheme}:// addresses", note)
    try:
        store = ObjectStore(address, access)
    except RemoteError as error:
        raise FolderError(f"--out {error}") from None
    upload = Upload(store, run, input, now_text())
    try:
        yield upload
    except BaseException as error:
        upload.tell_failed(exit_code_of_error(first_of(error)))
        raise
