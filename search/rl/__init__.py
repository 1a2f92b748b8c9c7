"""Agents and baselines in Optuna's storage: trained, tuned, and judged."""
