"""Federated training on one machine: who is chosen, what they send, what it is worth."""
