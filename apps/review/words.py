"""What the pages say in words, and how they show names that anybody may have chosen."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from crowdlearn.aggregation import Explanation, VoteWeight
from crowdlearn.service.items import Item
from crowdlearn.service.workers import Worker

SIMULATED = "These votes are simulated: no people gave them."
STRATEGIES = {
    "entropy": "items whose posterior is spread the most come first",
    "margin": "items with the smallest lead of the best class over the next come first",
    "least-confident": "items whose best class is the least probable come first",
    "information": "items whose answer would tell the most about all labels come first",
    "error-reduction": "items whose answer would cut the expected error the most come first",
    "random": "items come in random order",
}
STATES = {
    "open": "open", "answered": "answered by an expert", "flagged": "flagged",
    "accepted": "accepted in bulk",
}  # fmt: skip
SAID = {
    "answer": "answered", "accept": "accepted", "undo": "took back", "skip": "skipped",
    "flag": "flagged", "unflag": "unflagged", "note": "noted",
}  # fmt: skip
FLAGS = {None: "", "blocked": "blocked", "retrain": "to retrain"}
NAMED = 3  # workers in one sentence at most

_MARKS = re.compile(r"([!-/:-@\[-`{-~])")
_GLYPHS = re.compile(r"(:(?=[\w+-])|-(?=[->])|<(?=-))")


def escaped(text: str) -> str:
    """The text as it is, where Markdown is read: no mark-up, colours, links, icons or formulas."""
    shown = _GLYPHS.sub("\\1\u2060", " ".join(str(text).split()))
    return _MARKS.sub(r"\\\1", shown)


def percent(share: float | None, digits: int = 0) -> str:
    """A share as a percentage; a dash without one."""
    if share is None or share != share:
        return "–"
    shown = f"{100 * share:.{digits}f}"
    if share < 1 and float(shown) == 100:
        return f"> {100 - 10.0**-digits:.{digits}f} %" if digits else "> 99 %"
    return f"{shown} %"


def interval(low: float | None, high: float | None) -> str:
    """An interval of shares, in percent."""
    if low is None or high is None:
        return "–"
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def moment(microseconds: int) -> str:
    """A time, as a clock on this machine shows it."""
    return datetime.fromtimestamp(microseconds / 1e6).strftime("%Y-%m-%d %H:%M:%S")


def person(actor: str | None) -> str:
    """Who an actor's name in the log is."""
    return (actor or "somebody").removeprefix("user:")


def votes(n: int) -> str:
    """So many votes."""
    return "1 vote" if n == 1 else f"{n:,} votes"


def items(n: int) -> str:
    """So many items."""
    return "1 item" if n == 1 else f"{n:,} items"


def why_item(strategy: str, item: Item) -> str:
    """Why this item is asked for now. Markdown."""
    if item.n_votes == 0:
        return (
            f"Nobody has voted on it yet. Order of the queue: {strategy}, {STRATEGIES[strategy]}."
        )
    sure = escaped(percent(item.confidence))
    return (
        f"The model gives its best class {sure} after {votes(item.n_votes)}. "
        f"Order of the queue: {strategy}, {STRATEGIES[strategy]}."
    )


def why_label(found: Explanation) -> list[str]:
    """Whose votes make the crowd's label, and what would change it. Markdown sentences."""
    label, other = escaped(found.label), escaped(found.runner_up)
    pro = [vote for vote in found.votes if vote.weight > 0.005]
    contra = [vote for vote in found.votes if vote.weight < -0.005]
    lines = [f"The votes say **{label}** rather than **{other}**."]
    if pro:
        lines.append(f"For it: {_weighed(pro)}.")
    if contra:
        lines.append(f"Against it: {_weighed(contra[::-1])}.")
    if found.flip_by_removing:
        lines.append(f"It would change without {_whose(found.flip_by_removing)}.")
    if found.flip_by_changing:
        lines.append(
            f"It would change if {_whose(found.flip_by_changing)} were for **{other}** instead."
        )
    if not found.flip_by_removing and not found.flip_by_changing:
        lines.append("No change of the votes for it would turn it alone.")
    return lines


def judged(worker: Worker) -> str:
    """What is known of a worker's accuracy, in words."""
    if worker.accuracy is None:
        return "not folded yet"
    return f"{percent(worker.accuracy)} ({interval(worker.low, worker.high)})"


def said(event: dict[str, Any]) -> str:
    """One line of an item's history. Markdown."""
    line = f"{moment(event['at'])} · {escaped(person(event['actor']))} {SAID[event['kind']]}"
    if event["label"] is not None:
        line += f" **{escaped(event['label'])}**"
    if event["undoes"] is not None:
        line += f" decision {event['undoes']}"
    if event["text"]:
        line += f": {escaped(event['text'])}"
    return line


def _weighed(found: list[VoteWeight]) -> str:
    shown = [f"{escaped(vote.worker)} ({vote.weight:+.1f})" for vote in found[:NAMED]]
    more = len(found) - NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _whose(found: tuple[VoteWeight, ...]) -> str:
    names = ", ".join(escaped(vote.worker) for vote in found[:NAMED])
    more = len(found) - NAMED
    names += f" and {more} more" if more > 0 else ""
    return f"the vote of {names}" if len(found) == 1 else f"the {len(found)} votes of {names}"
