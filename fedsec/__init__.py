"""What leaks in federated learning, and who contributes: audit your own systems.

Importing this package is cheap: torch is loaded by the parts that compute.
"""

__version__ = "0.1.0"
