"""Optuna's dashboard and TensorBoard: what is published there, and the servers."""
