"""Clips on their way to the disk, the folders that they lie in, and the prepared pictures that are kept."""
