"""The parts of `benchmarks.stealing`."""
