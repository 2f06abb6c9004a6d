"""The commands, one file each, which reads from top to bottom what the command does.

The command line calls these functions, and so will every other door: they print nothing, ask only through a
`Reporter`, and raise a `BatchError` for what is wrong with the job as a whole.
"""
