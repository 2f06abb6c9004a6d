"""Simulated rate limiters and the world around them: what the pacer is measured in."""
