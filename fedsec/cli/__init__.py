"""The command line: each command reads, makes one library call, and writes.

Exit codes: 0 done; 2 bad input or settings, one line on stderr; 130 after Ctrl-C. torch and all
else that is heavy is imported inside commands, so that `--help` answers at once.
"""

from fedsec.cli.app import app, main

__all__ = ["app", "main"]
