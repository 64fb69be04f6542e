"""What a trigger does: one file for each action, and the process that runs it."""
