"""Searching a cell: what to try next (samplers, study) and what to stop early (stopping). The only home of Optuna."""
