"""What the operating system grants and refuses: memory, locks, temporaries, errors, and the parent of this process."""
