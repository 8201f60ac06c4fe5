"""An item's figures as HTML: bars of the classes, the table of votes, bars of what they weigh.

A browser can show them at once. For Streamlit's charts, data frames and code blocks it first loads
and compiles megabytes of script, and until then no button of the page can be pressed. Names that
anybody may have chosen are escaped here; scripts would not get through Streamlit either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from apps.review import words
from crowdlearn.aggregation import Explanation
from crowdlearn.service.views import SeenVote

MOST_BARS = 12
STYLE = """
.bars { display: grid; grid-template-columns: fit-content(45%) 1fr; gap: 0.3rem 0.6rem;
  align-items: center; font-size: 0.8rem; font-variant-numeric: tabular-nums; }
.weights { grid-template-columns: fit-content(45%) 1fr auto; }
.bars, .votes th { color: #748094; } /* readable on light and dark ground */
.bars .name, .votes .name { overflow: hidden; text-overflow: ellipsis; white-space: pre; }
.bars .row { display: flex; align-items: center; gap: 0.35rem; }
.bars i, .votes i { height: 0.85rem; border-radius: 3px; background: light-dark(#1f6feb, #6ea8ff);
  font-style: normal; } /* or a browser loads the italic font for them */
.posterior i { width: calc((100% - 4rem) * var(--part)); min-width: 1px; opacity: 0.5; }
.posterior .now i { opacity: 1; }
.weights i { margin-left: calc(100% * var(--from)); width: calc(100% * var(--part)); }
.weights .against i { background: light-dark(#d9822b, #f0a35e); }
.weights .unit { grid-column: 1 / -1; text-align: right; }
.votes { max-height: 20rem; overflow: auto; font-size: 0.9rem; border-radius: 0.5rem;
  border: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
.votes table { width: 100%; border-spacing: 0; font-variant-numeric: tabular-nums; }
.votes th { font-weight: 400; text-align: left; }
.votes th, .votes td { padding: 0.3rem 0.6rem; white-space: nowrap; }
.votes tr + tr td, .votes tbody td {
  border-top: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
.votes .name { max-width: 14rem; }
.votes .number { text-align: right; }
.votes .meter { display: flex; align-items: center; gap: 0.6rem; min-width: 8rem; }
.votes .meter i { height: 0.4rem; width: calc((100% - 3.5rem) * var(--part)); }
"""


def posterior(shares: Mapping[str, float], label: str | None) -> str:
    """Bars of the most probable classes, in the order of the project; the label stands out."""
    likely = set(sorted(shares, key=lambda name: -shares[name])[:MOST_BARS])
    rows = [
        f'{_name(name)}<span class="row{" now" if name == label else ""}">'
        f'<i style="--part: {share:.4f}"></i>{100 * share:.1f} %</span>'
        for name, share in shares.items()
        if name in likely
    ]
    return f'<div class="bars posterior">{"".join(rows)}</div>'


def weights(found: Explanation) -> str:
    """What each vote adds to the log odds of the label against the runner-up."""
    reach = max((abs(vote.weight) for vote in found.votes), default=1.0) or 1.0
    rows = []
    for vote in found.votes[:MOST_BARS]:
        part = abs(vote.weight) / reach / 2
        side, start = ("for", 0.5) if vote.weight >= 0 else ("against", 0.5 - part)
        rows.append(
            f'{_name(f"{vote.worker}: {vote.label}")}<span class="row {side}">'
            f'<i style="--from: {start:.4f}; --part: {part:.4f}"></i></span>'
            f"<span>{vote.weight:+.2f}</span>"
        )
    unit = '<span class="unit">weight of the vote in nats</span>'
    return f'<div class="bars weights">{"".join(rows)}{unit}</div>'


def votes(seen: Sequence[SeenVote]) -> str:
    """Each vote with the reliability of who gave it, and what it weighs."""
    flagged = any(vote.flag for vote in seen)
    head = ["worker", "vote", "accuracy", "90 % interval", "weight", *(["flag"] if flagged else [])]
    rows = []
    for vote in seen:
        cells = [
            f'<td class="name" title="{escape(vote.worker)}">{escape(vote.worker)}</td>',
            f'<td class="name" title="{escape(vote.label)}">{escape(vote.label)}</td>',
            f'<td><span class="meter"><i style="--part: {vote.accuracy or 0:.4f}"></i>'
            f"{escape(words.percent(vote.accuracy))}</span></td>",
            f"<td>{words.interval(vote.low, vote.high)}</td>",
            f'<td class="number">{"" if vote.weight is None else f"{vote.weight:+.2f}"}</td>',
        ]
        if flagged:
            cells.append(f"<td>{words.FLAGS[vote.flag]}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f"<th>{name}</th>" for name in head)
    return (
        f'<div class="votes"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _name(name: str) -> str:
    return f'<span class="name" title="{escape(name)}">{escape(name)}</span>'
