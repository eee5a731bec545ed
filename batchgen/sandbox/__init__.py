"""The API on this machine: it follows the specification, plays faults by name, and keeps a journal of the truth.

Imports none of the client's rules and tables: it reads the specification on its own. A task it makes costs nothing.
``server.Sandbox`` with a ``config.Config`` is the API, ``faults`` what it can play, ``journal`` what it saw.
"""
