"""Which column of a table holds the items, which the workers, which the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crowdlearn.errors import VotesError

VOTE_COLUMNS = {
    "item": ("task", "item"),
    "worker": ("worker", "annotator"),
    "label": ("label",),
}
"""What a table of votes has, and the names it may go by."""

TRUTH_COLUMNS = {"item": ("task", "item"), "label": ("label", "truth", "class")}
"""What a table of truths or gold answers has."""

KEYS = {"item": "item", "task": "item", "worker": "worker", "annotator": "worker", "label": "label"}


def check_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """`columns` by role. Raises VotesError for a key that is no role."""
    given = {}
    for key, name in (columns or {}).items():
        if key not in KEYS:
            raise VotesError(f"columns: {key!r} is not one of item, worker, label")
        given[KEYS[key]] = name
    return given


def find_columns(
    available: Sequence[str],
    wanted: Mapping[str, Sequence[str]],
    columns: Mapping[str, str],
    place: str,
) -> dict[str, str]:
    """The column of each role, by the name given in `columns` or by a name it usually has.

    Raises VotesError where a column is missing, stands twice, or two would do.
    """
    found = {}
    for role, usual in wanted.items():
        names = (columns[role],) if role in columns else tuple(usual)
        matches = [name for name in available if name in names]
        if len(matches) != 1:
            raise VotesError(_complaint(place, role, names, matches, available))
        found[role] = matches[0]
    return found


def _complaint(
    place: str, role: str, names: Sequence[str], matches: Sequence[str], available: Sequence[str]
) -> str:
    if not matches:
        there = ", ".join(map(repr, available[:20])) or "no column"
        hint = _choose(role, "...")
        if role == "worker":
            hint += ", or read a table with one column per worker with format='wide'"
        wanted = " or ".join(map(repr, names))
        return f"{place}: no column {wanted}; there is {there}: {hint}"
    if len(set(matches)) == 1:
        return f"{place}: column {matches[0]!r} stands {len(matches)} times: rename all but one"
    both = " and ".join(map(repr, matches))
    return f"{place}: {both} could both be the {role}: {_choose(role, matches[0])}"


def _choose(role: str, name: str) -> str:
    return f'say which one it is with columns={{"{role}": "{name}"}} (--columns {role}={name})'
