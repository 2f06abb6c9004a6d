"""DualEntry: `customers`; what its API is known to do stands in README.md."""
