"""Tables on the screen. Names from the votes are shown as plain text, never as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from crowdlearn.aggregation import Aggregation

NAME_WIDTH = 40
FILE_WIDTH = 120  # columns of a table that goes to a file or a pipe


def show(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], n_names: int = 1) -> None:
    """Print a table to stdout; the first `n_names` columns are names, the others numbers."""
    table = Table()
    for place, name in enumerate(head):
        is_name = place < n_names
        table.add_column(
            name,
            justify="left" if is_name else "right",
            overflow="fold",
            no_wrap=not is_name,
            min_width=min(len(name), 8) if is_name else None,
        )
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)


def shown(name: str) -> str:
    """A name fit for a terminal."""
    from crowdlearn.highlights import plain

    return plain(name, NAME_WIDTH)


def number(value: Any, digits: int = 3) -> str:
    """A number for a table cell; a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def show_fit(fit: Aggregation) -> None:
    """What came out: class balance, contested items, workers at either end."""
    show_classes(fit)
    show_contested(fit, 10)
    show_workers(fit, 10)


def show_classes(fit: Aggregation) -> None:
    """Share of votes and labels by class."""
    from crowdlearn.highlights import label_share, vote_share

    votes, labels = vote_share(fit.votes), label_share(fit)
    show(
        "Classes",
        ("class", "votes", "labels", "prior"),
        [
            (name, f"{votes[k]:.1%}", f"{labels[k]:.1%}", f"{fit.prior[k]:.1%}")
            for k, name in enumerate(fit.votes.classes)
        ][:30],
    )


def show_contested(fit: Aggregation, n: int) -> None:
    """The `n` least certain items."""
    from crowdlearn.highlights import contested, first_two, item_names

    votes, found = fit.votes, contested(fit, n)
    rows = []
    for item, name in zip(found, item_names(votes, found), strict=True):
        answer, other = first_two(fit, int(item))
        chance = fit.posterior[item]
        rows.append(
            (
                name,
                votes.classes[answer],
                votes.classes[other],
                number(chance[answer]),
                number(chance[other]),
                f"{votes.votes_per_item[item]:,}",
            )
        )
    head = ("item", "label", "runner-up", "probability", "of the runner-up", "votes")
    show(f"The {len(rows)} most contested items", head, rows, 3)


def show_workers(fit: Aggregation, n: int) -> None:
    """Up to `n` workers, most accurate first; both ends where there are more."""
    from crowdlearn.highlights import extreme_workers, worker_names

    found = extreme_workers(fit, n)
    accuracy, n_votes = fit.worker_accuracy, fit.votes.votes_per_worker
    n_seen = int((n_votes > 0).sum())
    title = "Workers" if n_seen <= n else f"Workers at either end ({len(found)} of {n_seen:,})"
    show(
        f"{title}, most accurate first",
        ("worker", "accuracy", f"{accuracy.level:.0%} interval", "votes"),
        [
            (
                name,
                number(accuracy.mean[w]),
                f"{number(accuracy.low[w])} to {number(accuracy.high[w])}",
                f"{n_votes[w]:,}",
            )
            for w, name in zip(found, worker_names(fit.votes, found), strict=True)
        ],
    )
