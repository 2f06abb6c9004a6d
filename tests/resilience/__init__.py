"""Attacks on the promises: kills, failing disks, hostile bytes. The judge is the sandbox's ledger, not our journal."""
