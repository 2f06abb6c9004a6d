"""Prefect 3: a flow with one task, which is tried again where that helps.

The key is a Secret block, `dualentry-api-key`. Runs go to a folder that the next try sees, too: that is how it goes on
where this one stopped.

    python prefect_flow.py /data/customers.csv /data/runs
"""

import sys
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

import batch

ENDPOINT = "dualentry.customers"
RETRY = (3, 5)
"""Exit codes for which the same command helps: rows are left to retry, or another run holds the input."""


class TryAgainError(Exception):
    """The next try goes on where this one stopped."""


async def helps(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Say whether another try is of use."""
    return isinstance(await state.aresult(raise_on_failure=False), TryAgainError)


@task(retries=5, retry_delay_seconds=600, retry_condition_fn=helps, persist_result=False)
async def update(input: str, runs: str, base_url: str | None) -> batch.Summary:
    """Send what the file changes."""
    log = get_run_logger()
    key = await Secret.aload("dualentry-api-key")
    try:
        summary = await batch.aio.update(
            input, endpoint=ENDPOINT, out=runs, base_url=base_url, credentials={"DUALENTRY_API_KEY": key.get()}
        )
    except batch.BatchError as error:  # it could not begin: nothing was sent
        if error.exit_code in RETRY:
            raise TryAgainError(str(error)) from None
        raise
    counts = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items() if count)
    log.info("%s rows: %s. Run folder: %s", summary.rows, counts or "nothing to do", summary.run)
    for reason in summary.reasons:
        log.warning("%s: %s %s, rows %s", reason.outcome, reason.header or reason.field, reason.reason, reason.rows)
    if summary.exit_code in (0, 1):
        return summary
    why = f"{summary.stopped.message} {summary.stopped.hint}" if summary.stopped else "Rows are left to retry."
    raise (TryAgainError if summary.exit_code in RETRY else RuntimeError)(f"{why} Run folder: {summary.run}")


@flow(name="update-customers")
async def update_customers(input: str, runs: str, base_url: str | None = None) -> str:
    """Update the customers; what a person has to fix is named at the end."""
    summary = await update(input, runs, base_url)
    return f"Rows to fix: {summary.files.failures}" if summary.files.failures else "Every row went through."


if __name__ == "__main__":
    import asyncio

    print(asyncio.run(update_customers(sys.argv[1], sys.argv[2], *sys.argv[3:])))
