"""What shared gradients and model updates reveal: attacks that rebuild images, and an audit."""
