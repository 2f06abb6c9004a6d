"""Dagster: the customers as they are after the update, an asset with what became of the rows as its metadata.

The key is in the environment of the code location, `DUALENTRY_API_KEY`. The runs are kept in a folder that the next try
sees, too: that is how it goes on where this one stopped.
"""

import os

import dagster as dg

import batch

RETRY = (3, 5)
"""Exit codes for which the same command helps: rows are left to retry, or another run holds the input."""


class CustomersUpdate(dg.ConfigurableResource):
    """Where the file and its runs are, and how the key is found."""

    input: str
    runs: str
    base_url: str | None = None

    def update(self) -> batch.Summary:
        """Send what the file changes."""
        return batch.update(
            self.input,
            endpoint="dualentry.customers",
            out=self.runs,
            base_url=self.base_url,
            credentials=lambda: {"DUALENTRY_API_KEY": os.environ["DUALENTRY_API_KEY"]},
        )


@dg.asset(
    check_specs=[dg.AssetCheckSpec("nothing_to_fix", asset="updated_customers")],
    retry_policy=dg.RetryPolicy(max_retries=5, delay=600, backoff=dg.Backoff.EXPONENTIAL),
)
def updated_customers(context: dg.AssetExecutionContext, customers: CustomersUpdate) -> dg.MaterializeResult:
    """Update the customers; rows that a person has to fix are a failed check, not a failed asset."""
    try:
        summary = customers.update()
    except batch.BatchError as error:  # it could not begin: nothing was sent
        raise dg.Failure(str(error), allow_retries=error.exit_code in RETRY) from None
    metadata = {
        "rows": summary.rows,
        "exit code": summary.exit_code,
        "run folder": dg.MetadataValue.path(summary.run),
        "requests": summary.requests,
        "429s": summary.throttled,
        "seconds": summary.seconds,
        **{str(outcome): count for outcome, count in summary.outcomes.items()},
    }
    if summary.files.failures:
        metadata["rows to fix"] = dg.MetadataValue.path(summary.files.failures)
    for reason in summary.reasons:
        context.log.warning(
            f"{reason.outcome}: {reason.header or reason.field} {reason.reason}, rows {reason.rows}"
        )
    if summary.exit_code not in (0, 1):
        why = f"{summary.stopped.message} {summary.stopped.hint}" if summary.stopped else "Rows are left to retry."
        raise dg.Failure(why, metadata=metadata, allow_retries=summary.exit_code in RETRY)
    check = dg.AssetCheckResult(check_name="nothing_to_fix", passed=summary.exit_code == 0)
    return dg.MaterializeResult(metadata=metadata, check_results=[check])


defs = dg.Definitions(
    assets=[updated_customers],
    jobs=[dg.define_asset_job("update_customers", selection=[updated_customers])],
    schedules=[dg.ScheduleDefinition(job_name="update_customers", cron_schedule="15 2 * * *")],
    resources={"customers": CustomersUpdate(input=dg.EnvVar("CUSTOMERS_FILE"), runs=dg.EnvVar("CUSTOMERS_RUNS"))},
)
