"""One night: what is to be done about each job, when, and what became of it."""
