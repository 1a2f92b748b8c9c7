"""Feedback: windows that a member writes itself, of which a share of its batches is made."""
