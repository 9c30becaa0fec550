"""Fits compared with reference posteriors; `python -m tests.posteriors` prints the table."""
