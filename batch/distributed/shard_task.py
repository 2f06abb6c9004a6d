"""What a worker does: one shard of one job, by the library, told to and stopped by whoever submitted it."""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from distributed import Client, get_client, get_worker

from batch import __version__
from batch.distributed.summary import ShardEnd, how_far
from batch.endpoints import ENDPOINTS
from batch.engine.reporter import Progress
from batch.errors import (
    AlreadyFinished,
    BatchError,
    CancelledError,
    ExitCode,
    FolderError,
    MachineError,
    SettingsError,
    UsageError,
)
from batch.library import update_unless_finished
from batch.run.folder import peek_metadata
from batch.run.locks import host_name
from batch.run.summary_file import read_summary

NOT_SHARED: Final = (
    "the workers are on several hosts, which share neither the limits of a key nor who does which shard. Name a Redis "
    "with limiter, or with BATCH_LIMITER."
)
STOPS: Final = "batch-stops"
"""Under which the scheduler's metadata count how often each job was stopped: by whoever, all of its shards end."""
LOST: Final = "Its worker was lost, and it was stopped before another one went on with it."
LOOK_SECONDS: Final = 0.5
"""How often a worker looks whether it is to stop."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What there is to do; it travels to a worker, and so holds no key but a sandbox's, and shows no password."""

    job: str
    shard: str | None
    options: Mapping[str, Any] = field(repr=False)  # the address of a Redis may hold a password
    token_env: str | None
    identity: str
    """That of the job; under it the cluster counts how often it was stopped."""
    stops: int
    """How often that was when this was submitted: once more ends it."""
    topic: str
    """Where it tells that it has begun, and how far it is."""
    sandbox: Mapping[str, str] | None = field(default=None, repr=False)
    """What opens the sandbox, where it goes to one."""
    finished_since: float = 0.0
    """A run of it that has finished since then (seconds since 1970) is not done anew."""


def as_task(task: ShardTask) -> tuple[Callable[..., "ShardEnd | None"], list[Any]]:
    """Return what does a shard, and its arguments, so that any worker can read them: one that cannot read a task ends.

    A function in a function travels as it is, not by its name. Raises ImportError there where batch is another one.
    """

    def do(version: str, *values: Any) -> "ShardEnd | None":
        from batch import __version__
        from batch.distributed.shard_task import ShardTask, do_shard

        if version != __version__:
            raise ImportError(f"the worker has batch {__version__}, and this is {version}")
        return do_shard(ShardTask(*values))

    return do, [__version__, *(getattr(task, one.name) for one in fields(task))]


def do_shard(task: ShardTask) -> ShardEnd | None:
    """Do a shard to its end, None where all was stopped before it began, on whichever worker.

    It is run by a worker, maybe more than once, and by another one after that.
    """
    worker, client, cancel, is_over = get_worker(), get_client(), threading.Event(), threading.Event()

    def is_stopped() -> bool:
        return bool(client.get_metadata([STOPS, task.identity], 0) > task.stops)

    key = worker.get_current_task()
    is_again = client.get_metadata([task.topic, key], None) is not None  # a worker was lost that had begun
    # In this order: whoever stops all of it says so, and then looks which tasks have begun.
    client.set_metadata([task.topic, key], worker.address)
    if is_stopped():
        code = int(ExitCode.INTERRUPTED)
        return ShardEnd(task.job, task.shard, code, message=LOST, may_have_sent=True) if is_again else None

    def tell(**more: Any) -> None:
        worker.log_event(task.topic, {"job": task.job, "shard": task.shard} | more)

    def watch() -> None:
        while not is_over.wait(LOOK_SECONDS):
            try:
                if is_stopped():
                    break
            except Exception:  # the scheduler is gone, or does not answer: whoever submitted this is, too
                break
        cancel.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    tell()
    try:
        end = _do(task, lambda progress: tell(**how_far(progress)), cancel, client)
        return replace(end, may_have_sent=True, was_finished=False) if is_again else end
    finally:
        is_over.set()
        watcher.join()


def _do(task: ShardTask, tell: Callable[[Progress], None], cancel: threading.Event, client: Client) -> ShardEnd:
    options = {**task.options, "on_progress": tell, "cancel": cancel, "shard": task.shard}
    source, endpoint = options.pop("input"), options.pop("endpoint")
    try:
        _check_host(task, client)
        if task.sandbox is not None:
            options["credentials"] = task.sandbox
        elif task.token_env is not None:
            options["credentials"] = _credentials(endpoint, task.token_env)
        end = update_unless_finished(source, endpoint=endpoint, since=task.finished_since, **options)
    except AlreadyFinished as before:
        summary = read_summary(before.folder)
        return ShardEnd(
            task.job,
            task.shard,
            int(summary["exit_code"]),
            str(before.folder),
            summary=summary,
            was_finished=True,
            sha256=_digest(before.folder),
        )
    except BatchError as error:
        is_unsent = isinstance(error, UsageError | CancelledError) and not isinstance(error, MachineError)
        return ShardEnd(task.job, task.shard, int(error.exit_code), message=str(error), may_have_sent=not is_unsent)
    message = end.stopped.message if end.stopped else ""
    return ShardEnd(
        task.job, task.shard, int(end.exit_code), end.run, message, end.as_dict(), sha256=_digest(Path(end.run))
    )


def _digest(folder: Path) -> str:
    """Return the digest of the input that a run has read."""
    with suppress(FolderError):  # somebody has removed it since
        return peek_metadata(folder).staged.sha256
    return ""


def _check_host(task: ShardTask, client: Client) -> None:
    """Raise SettingsError where another host does a part of this, too, and nothing is there that both share.

    A host is who shares the state folder, in which limits and claims are kept.
    """
    if task.options.get("limiter"):
        return
    client.set_metadata([f"{task.topic} hosts", host_name()], value=True)
    if len(client.get_metadata([f"{task.topic} hosts"])) > 1:
        raise SettingsError(NOT_SHARED)


def _credentials(endpoint: str, variable: str) -> dict[str, str]:
    """Return what this worker's variables hold; the one that is named stands for the endpoint's own required one."""
    if variable not in os.environ:
        raise _NoKeyError(f"token_env {variable}: this variable is not set where the worker runs.")
    known = ENDPOINTS[endpoint].variables
    found = {one.name: os.environ[one.name] for one in known if one.name in os.environ}
    secret = next((one.name for one in known if one.is_required and one.is_secret), known[0].name)
    return found | {secret: os.environ[variable]}


class _NoKeyError(BatchError):
    exit_code = ExitCode.COULD_NOT_START
    reason = "credentials"
