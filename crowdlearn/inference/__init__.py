"""How stories are inverted: starting points, fixed-point sweeps, Gibbs chains, diagnostics."""
