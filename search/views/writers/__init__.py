"""Four ways to write a table: on a terminal, as Markdown, as HTML, as CSV."""
