"""Applications on top of crowdlearn."""
