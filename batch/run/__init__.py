"""A run on disk: its folder, its locks, what it knows of itself, and its files at the end.

Promises: two starts of one input never send at the same time; a run that began ends with its files written, whatever
stopped it; what a crash left behind is removed by the next run.
"""
