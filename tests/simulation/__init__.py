"""Simulated rate limiters and the world around them: what the rate limiter is measured in."""
