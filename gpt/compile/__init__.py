"""An iteration of all members, eager or as one compiled function, kept for later processes."""
