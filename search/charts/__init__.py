"""Pictures: what a figure shows, and its renderers."""
