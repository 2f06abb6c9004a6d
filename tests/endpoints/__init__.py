"""What every endpoint must keep, and one that is not built in."""
