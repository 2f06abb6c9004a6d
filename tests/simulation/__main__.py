"""Write the report anew: `python -m tests.simulation`."""

from .report import REPORT, render

REPORT.write_text(render(), encoding="utf-8")
