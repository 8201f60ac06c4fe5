"""The process of the review app: Streamlit, with all that the pages need loaded before it answers.

    CROWDLEARN_STORE=store.db python -m apps.review run apps/review/server.py

Loading takes seconds (numba alone two); nobody's first page should have to wait for it. That goes
for what others do late: pyarrow loads pandas with the first list of names, Streamlit its emojis,
and with the first element on a page it asks for its callers, who are sought in all that is loaded.

After every run of a page Streamlit looks through all objects for garbage, and while it does, nobody
is answered. What is loaded here stays, so it need not be looked through: that took a quarter of a
second, just when a browser wants the page.
"""

from __future__ import annotations

import gc
import inspect
import sys

import pyarrow as pa
from streamlit import emojis
from streamlit.web import cli

from apps.review import screens, signing_in, state
from apps.review.screens import compare, items, progress, project, queue, start, voting, workers

LOADED = (screens, signing_in, state, emojis)
PAGES = (compare, items, progress, project, queue, start, voting, workers)

if __name__ == "__main__":
    pa.array(["a name"])
    inspect.stack()
    gc.freeze()
    sys.exit(cli.main(prog_name="streamlit"))
