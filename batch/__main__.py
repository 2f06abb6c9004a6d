"""Lets `python -m batch` be the command."""

from batch.cli import main

if __name__ == "__main__":
    main()
