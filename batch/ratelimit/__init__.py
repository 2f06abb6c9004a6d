"""When the next attempt may start: as fast as the API permits, and never faster. README.md has the algorithm.

`RateLimiter` is what attempts go through; `RatePolicy` decides, as pure steps over a state that a `LimiterStore` keeps.
"""

from batch.ratelimit.buckets import Bucket, Limits, TokenBucket
from batch.ratelimit.headers import RateHint, is_about_rate, read_rate_headers
from batch.ratelimit.learned import Learned, load_learned, save_learned
from batch.ratelimit.limiter import LimiterListener, RateLimiter, Turn
from batch.ratelimit.policy import RatePolicy, Wait, read_reply
from batch.ratelimit.state import LimiterState, Step
from batch.ratelimit.store import (
    LeasedRecord,
    LimiterStore,
    MemoryStore,
    RecordLease,
    RecordStep,
    StoreLostError,
)

__all__ = [
    "Bucket", "Learned", "LeasedRecord", "LimiterListener", "LimiterState", "LimiterStore", "Limits", "MemoryStore",
    "RateHint", "RateLimiter", "RatePolicy", "RecordLease", "RecordStep", "Step", "StoreLostError", "TokenBucket",
    "Turn", "Wait", "is_about_rate", "load_learned", "read_rate_headers", "read_reply", "save_learned",
]  # fmt: skip
