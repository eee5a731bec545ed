"""The API on this machine: it follows the specification, plays faults by name, and keeps a journal of the truth.

It shares no rule and no table with the client: it has its own reading of the specification. Its tasks cost nothing.
``server.Sandbox`` with a ``config.Config`` is the API, ``faults`` are what it can play, ``journal`` is what it saw.
"""
