"""Decisions and values, in this process: no socket, no program, no waiting."""
