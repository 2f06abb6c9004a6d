"""The page: for people who do not use terminals, on this machine only.

    server.py        the process: one port, one page a user      guards.py    who may talk to it
    application.py   the addresses                               uploads.py   what is uploaded, and where it is kept
    work.py          a sheet on its way through the six steps    accounts.py  whose records, and which key
    task.py          a command that goes on while people look    views.py     what the templates show

Promises: it has no logic of its own: each step is a call of what the command line calls, and is told the same things;
nothing leaves this machine but to the API that was chosen. See `batch/web/README.md`.
"""
