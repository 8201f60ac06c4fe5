"""Image sets, and who holds which of their samples."""
