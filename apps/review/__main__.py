"""The process of the review app: Streamlit, with all that the pages need loaded before it answers.

    CROWDLEARN_STORE=store.db python -m apps.review run apps/review/app.py

Loading takes seconds (numba alone two); nobody's first page should have to wait for it.
"""

from __future__ import annotations

import sys

from streamlit.web import cli

from apps.review import screens, signing_in, state
from apps.review.screens import compare, items, progress, project, queue, start, voting, workers

LOADED = (screens, signing_in, state)
PAGES = (compare, items, progress, project, queue, start, voting, workers)

if __name__ == "__main__":
    sys.exit(cli.main(prog_name="streamlit"))
