"""The sandbox: both APIs imitated on a loopback port, for trying and testing without an account.

It shares no code with the client (nothing of `batch` but its errors), so that a mistake of the client cannot agree with
itself. What it answers follows the makers' descriptions; what nobody documents is a switch.

Importing this package is cheap: starlette, uvicorn and pydantic are imported only by the server.
"""
