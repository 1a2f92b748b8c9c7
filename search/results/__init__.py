"""What was found: ranks, statistics, confirmations, repeats, and what pruning has cost."""
