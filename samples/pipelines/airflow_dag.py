"""Airflow 3: a nightly update, by the library in a task, or by the command in a pod of its own.

The connection `dualentry` holds the key as its password, and an address as its host only where that is not the maker's.
Runs go to a folder that the next try sees, too: that is how it goes on where this one stopped.
"""

import logging
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Connection, dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

import batch

ENDPOINT = "dualentry.customers"
RETRY = (3, 5)
"""Exit codes for which the same command helps: rows are left to retry, or another run holds the input."""

log = logging.getLogger(__name__)


@dag(
    schedule="15 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={"input": "/data/customers.csv", "runs": "/data/runs"},
    default_args={"retries": 5, "retry_delay": timedelta(minutes=10), "retry_exponential_backoff": True},
)
def update_customers() -> None:
    @task
    def update(params: dict[str, Any]) -> dict[str, Any]:
        """Send what the file changes; rows that a person has to fix skip what comes after."""
        logging.getLogger("httpx").setLevel(logging.WARNING)  # which logs a line for each request
        connection = Connection.get("dualentry")
        try:
            summary = batch.update(
                params["input"],
                endpoint=ENDPOINT,
                out=params["runs"],
                base_url=connection.host or None,
                credentials=lambda: {"DUALENTRY_API_KEY": Connection.get("dualentry").password},
            )
        except batch.BatchError as error:  # it could not begin: nothing was sent
            raise (AirflowException if error.exit_code in RETRY else AirflowFailException)(str(error)) from None
        counts = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items() if count)
        log.info("%s rows: %s. Run folder: %s", summary.rows, counts or "nothing to do", summary.run)
        for reason in summary.reasons:
            log.warning("%s: %s %s, rows %s", reason.outcome, reason.header or reason.field, reason.reason, reason.rows)
        if summary.stopped:
            log.warning("Stopped: %s %s", summary.stopped.message, summary.stopped.hint)
        match summary.exit_code:
            case 0:
                return summary.as_dict()
            case 1:
                raise AirflowSkipException(f"Some rows need a person; the others are done: {summary.files.failures}")
            case code if code in RETRY:
                raise AirflowException(f"Rows are left to retry; the next try goes on: {summary.run}")
            case code:
                raise AirflowFailException(f"Exit code {code}: {summary.run}")

    update()


update_customers()
