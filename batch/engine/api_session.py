"""A job's way to its API: session, limits, retries and account, and the organisation's custom fields.

Promises: whatever asks the API, for whatever job, goes by the same limits and retries.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from batch.endpoints.base import CustomField, Endpoint
from batch.engine.retry_loop import ApiClient, Count
from batch.engine.shutdown import Shutdown
from batch.errors import StoppedError
from batch.http import ApiResponse, Session
from batch.ratelimit import Bucket, Limits, RateLimiter, RatePolicy, load_learned, save_learned
from batch.retry import Action, RetryPolicy
from batch.run.target import Environment, Target
from batch.settings import Settings
from batch.state import state_folder
from batch.summary import seconds_at_limits

MAX_PAGES = 100


@dataclass(frozen=True, slots=True)
class ApiSession:
    """What it takes to talk to the API of one target, under one set of settings."""

    target: Target
    settings: Settings
    environment: Environment
    shutdown: Shutdown
    count: Count

    def session(self) -> Session:
        """Give connections to the target's host, open inside of `async with`."""
        transport = self.environment.transport() if self.environment.transport else None
        return Session(self.target.base_url, transport=transport, max_at_once=self.settings.max_at_once)

    def client(self, session: Session, endpoint: Endpoint) -> ApiClient:
        """Give what makes attempts over `session`, with what was learned about the API's limits before."""
        learned = load_learned(state_folder() / "limits.json", self.target.fingerprint)
        rate = RatePolicy(self.limits, max_per_second=self.settings.max_per_second, learned=learned)
        return ApiClient(
            session=session,
            limiter=RateLimiter(rate, self.settings.max_at_once),
            endpoint=endpoint,
            account=endpoint.account(self.target.credentials),
            shutdown=self.shutdown,
            count=self.count,
            policy=RetryPolicy(max_attempts=self.settings.max_attempts, max_wait=self.settings.max_wait),
            rng=random.Random(),  # noqa: S311 - jitter, no secret
        )

    @property
    def limits(self) -> Limits:
        """The documented limits; a sandbox that was started for this run has the same, but faster."""
        documented, factor = self.target.endpoint.limits, self.target.limits_factor
        if factor == 1:
            return documented
        return Limits(*(_faster(bucket, factor) for bucket in (documented.total, documented.per_route)))

    def seconds(self, reads: int) -> float | None:
        """Reckon how long so many reads of one kind take at the limits, None when no limit is known."""
        if self.settings.max_per_second is not None:
            return reads / self.settings.max_per_second
        buckets = [(one.burst, one.per_second) for one in (self.limits.total, self.limits.per_route) if one]
        return seconds_at_limits(reads, buckets) if buckets else None

    def keep_learned(self, policy: RatePolicy) -> None:
        """Keep what was found out about the API's limits for the next job."""
        save_learned(state_folder() / "limits.json", self.target.fingerprint, policy.learned())


def _faster(bucket: Bucket | None, factor: float) -> Bucket | None:
    return bucket and Bucket(bucket.burst, bucket.per_second * factor)


async def fetch_definitions(client: ApiClient, note: Callable[[str], None]) -> list[CustomField]:
    """Read the organisation's custom fields; raises StoppedError when the API cannot be asked at all."""
    found: list[CustomField] = []
    if not client.endpoint.has_custom_fields:
        return found
    for page in range(MAX_PAGES):
        answer = await client.read(client.endpoint.definitions_request(page))
        if client.shutdown.requested or answer.classification.action is Action.RETRY:
            raise StoppedError(client.shutdown.reason or f"The custom fields could not be read: {answer.cause}.")
        if not isinstance(answer.response, ApiResponse) or answer.classification.action is not Action.SUCCEED:
            note(f"The custom fields could not be read ({answer.cause}): their values go as text.")
            break
        fresh = [one for one in client.endpoint.parse_definitions(answer.response) if one not in found]
        if not fresh:
            break
        found += fresh
    return found
