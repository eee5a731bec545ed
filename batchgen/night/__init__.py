"""What looks after nights that nobody watches: who is told of them, and how they went."""
