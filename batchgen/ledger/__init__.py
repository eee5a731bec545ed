"""The durable record of every job: one file, one writer, any number of readers."""
