"""Where results are seen: the terminal, the dashboard, a report."""
