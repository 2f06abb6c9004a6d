"""Tests of `batch.ratelimit`."""
