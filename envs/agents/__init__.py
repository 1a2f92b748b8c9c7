"""Agents: their hyperparameters, their training, their files, and an agent as the controller of a run."""
