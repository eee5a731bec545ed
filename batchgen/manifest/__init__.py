"""From what people write to jobs, or to every problem that there is."""
