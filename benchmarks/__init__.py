"""Benchmarks: one question a script; run `python -m benchmarks.NAME` in the repository's root."""
