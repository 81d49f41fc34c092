"""Experiment orchestration and hyperparameter optimization for neural networks."""

__version__ = "0.1.0"
