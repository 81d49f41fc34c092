"""Training: one loop, a function that knows no framework."""
