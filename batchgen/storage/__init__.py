"""Clips on their way to the disk, and the folders that they lie in."""
