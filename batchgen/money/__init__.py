"""What clips cost."""
