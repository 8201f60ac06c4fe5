"""Tables about the methods, from their dataclasses: names on the index, settings on each card."""

from __future__ import annotations

import dataclasses
from typing import Any

from crowdlearn.aggregators import AGGREGATORS

# The page of a method that has none of its own.
PAGES = {
    "idbla-factorised": "idbla",
    "idbla-gibbs": "idbla",
    "fixed-idbla-factorised": "fixed-idbla",
    "fixed-idbla-gibbs": "fixed-idbla",
}

# What each method is, in one line. A method without a line here stops the build.
IN_ONE_LINE = {
    "majority": "the share of the votes",
    "wawa": "votes weighted by agreement with the majority",
    "dawid-skene": "a confusion matrix for each worker, by EM",
    "one-coin": "one accuracy for each worker, by EM",
    "bcc": "confusion matrices with priors, variational",
    "bcc-gibbs": "the same, by draws from the posterior",
    "ebcc": "classes with subtypes: workers may err together; variational, with restarts",
    "idbla": "hard items make workers guess; variational, a reconstruction",
    "idbla-factorised": "the same with a coarser approximation",
    "idbla-gibbs": "the same by draws",
    "fixed-idbla": "as `idbla`, guesses are uniform",
    "fixed-idbla-factorised": "the same with a coarser approximation",
    "fixed-idbla-gibbs": "the same by draws",
}

# What each setting means, in one line. A setting without a line here stops the build.
MEANINGS = {
    "max_sweeps": "sweeps at most",
    "tolerance": "converged when no posterior probability changes by more than this",
    "pseudocount": "added to every cell of the expected counts",
    "start": "function that gives the first posterior",
    "prior_count": "Dirichlet count of each class in the class prior",
    "off_diagonal": "Dirichlet count of each wrong label in a worker's row",
    "diagonal": "Dirichlet count of the right label in a worker's row",
    "easy": "Beta count for an item being easy",
    "hard": "Beta count for an item being hard",
    "guess_count": "Dirichlet count of each class in the shared guess",
    "n_subtypes": "subtypes of each class",
    "subtype_count": "Dirichlet count of all subtypes of a class together",
    "n_restarts": "random starts; the one with the best bound is kept",
    "n_chains": "independent chains",
    "n_warmup": "sweeps of each chain that are dropped first",
    "n_draws": "sweeps of each chain that are kept",
    "seed": "seed of all that is drawn, ties among labels included",
    "n_threads": "threads; 0 means all cores",
    "device": "where sweeps run: auto, cpu or gpu",
}


def page_of(name: str) -> str:
    """The page (without ending) on which a method is described."""
    return PAGES.get(name, name)


def methods_table() -> str:
    """Every name with its page and its one-line description."""
    rows = ["| name | page | what it is |", "|---|---|---|"]
    for name in AGGREGATORS:
        page = page_of(name)
        rows.append(f"| `{name}` | [{page}]({page}.md) | {IN_ONE_LINE[name]} |")
    return "\n".join(rows)


def settings_table(page: str) -> str:
    """Settings and defaults of every method described on a page, one column a method."""
    methods = {name: cls for name, cls in AGGREGATORS.items() if page_of(name) == page}
    fields = {name: defaults(cls) for name, cls in methods.items()}
    order = dict.fromkeys(setting for values in fields.values() for setting in values)
    heads = [f"default of `{name}`" for name in methods] if len(methods) > 1 else ["default"]
    rows = [f"| setting | {' | '.join(heads)} | meaning |", "|---" * (len(heads) + 2) + "|"]
    for setting in order:
        cells = [f"`{v[setting]}`" if setting in v else "" for v in fields.values()]
        rows.append(f"| `{setting}` | {' | '.join(cells)} | {MEANINGS[setting]} |")
    return "\n".join(rows)


def defaults(method: Any) -> dict[str, Any]:
    """The default of every setting; a function by its name."""
    values = {field.name: field.default for field in dataclasses.fields(method)}
    return {name: v.__name__ if callable(v) else v for name, v in values.items()}
