"""The command line; only it prints and exits."""
