"""When may the next attempt start: as fast as the API permits, and never faster.

`RatePolicy` is a pure controller — time is passed in, it never awaits — so that millions of simulated replies run in
plain pytest. `RateLimiter` is the thin anyio wrapper around it that attempts go through. `Limits` are what an API
documents, `Learned` is what a run found out and the next one starts from.
"""

from batch.ratelimit.buckets import Bucket, Limits
from batch.ratelimit.headers import RateHint, read_rate_headers
from batch.ratelimit.learned import Learned, load_learned, save_learned
from batch.ratelimit.limiter import RateLimiter
from batch.ratelimit.policy import RatePolicy

__all__ = [
    "Bucket",
    "Learned",
    "Limits",
    "RateHint",
    "RateLimiter",
    "RatePolicy",
    "load_learned",
    "read_rate_headers",
    "save_learned",
]
