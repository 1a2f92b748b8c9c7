"""Exploration files of the reference sandbox: what they mean, and the study that asks the same."""
