"""Attacks on the promises: kills, failing disks, hostile bytes. The sandbox's ledger is the judge, never our journal."""
