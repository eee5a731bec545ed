"""Real servers on the loopback interface, within this process."""
