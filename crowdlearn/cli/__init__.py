"""The command line: each command reads, makes one library call, and writes.

Exit codes: 0 done; 2 bad input or settings, one line on stderr; 130 after Ctrl-C. Heavy packages
are imported inside commands, so that `--help` and shell completion answer at once.
"""

from crowdlearn.cli.app import app, main

__all__ = ["app", "main"]
