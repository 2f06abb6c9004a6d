"""Vayu: `customers` and the `login` that they need; what its API is known to do stands in README.md."""
