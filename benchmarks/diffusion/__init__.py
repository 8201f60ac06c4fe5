"""Parts of the benchmarks of diffusion models."""
