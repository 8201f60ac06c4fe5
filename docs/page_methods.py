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
    "consensus-onecoin": "consensus",
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
    "calibrated": "probabilities to act on: votes discounted for what an item's voters share",
    "auto": "several methods averaged, as they predict votes left out",
    "bayes": "any generative story, your own too, by NUTS, SVI, Gibbs or ascent",
    "minimax-entropy": "workers and items both bend what a class is called; EM with penalties",
    "kos": "messages between items and workers; two classes only",
    "spectral": "`dawid-skene` started by third moments of three groups of workers",
    "m-msr": "skills from agreement of pairs, the worst-fitting pairs left out",
    "max-margin": "confusion matrices held to a margin of a weighted vote; by draws",
    "zencrowd": "one reliability for each worker, uniform class prior, by EM",
    "glad": "ability of workers, difficulty of items",
    "mace": "the truth or spam; variational, with restarts",
    "cbcc": "workers come in communities that are alike; by draws",
    "hierarchical": "confusion matrices about those of a typical worker, who is learned; by draws",
    "ordinal": "classes in an order: bias, slope and noise for each worker; variational",
    "soft": "judges who give probabilities; variational",
    "consensus": "a network of all votes of an item, guided by confusion matrices",
    "consensus-onecoin": "the same, guided by one ability for each worker",
    "bila": "a network on label codes and nearly flat confusions; few gentle epochs",
    "laa": "an autoencoder of votes with the class in the middle",
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
    "guess_count": "Dirichlet count of each class in a guess",
    "n_subtypes": "subtypes of each class",
    "subtype_count": "Dirichlet count of all subtypes of a class together",
    "worker_penalty": "weight of the squares of the workers' scores, times classes squared",
    "item_penalty": "the same for the items' scores, times votes per worker over votes per item",
    "n_rounds": "rounds of messages",
    "strength": "how hard the margin presses; 0 lets the likelihood choose",
    "margin": "lead that the truth should have in weighted votes",
    "weight_variance": "variance of the workers' weights beforehand",
    "confusion_count": "Dirichlet count of each label in a worker's row",
    "n_restarts": "random starts; the one with the best bound is kept",
    "n_resamples": "fits to resampled items",
    "unseen": "how often the correlation that votes show counts; 0 takes votes as independent",
    "methods": "names of the methods beside `calibrated`",
    "n_folds": "times a fifth of the votes is left out, at most 5",
    "n_chains": "independent chains",
    "n_warmup": "sweeps of each chain that are dropped first",
    "n_draws": "sweeps of each chain that are kept",
    "seed": "seed of all that is drawn, ties among labels included",
    "n_threads": "threads; 0 means all cores",
    "device": "where sweeps run: auto, cpu or gpu",
    "story": "name of the story, or `module:function` of your own",
    "inference": "nuts, svi, svi-pyro, gibbs or cavi, or their settings, as `Nuts(n_draws=1000)`",
    "parameters": "hyperparameters of the story by name; defaults for the rest",
    "reliability": "everybody's chance to be right, before the first sweep",
    "ability_spread": "standard deviation of abilities beforehand",
    "easiness_spread": "standard deviation of log easinesses beforehand",
    "honest": "Beta count for a vote being honest",
    "spam": "Beta count for a vote being spam",
    "n_communities": "kinds of workers",
    "community_count": "Dirichlet count of each community",
    "concentration": "median strength with which workers keep to their population, per class",
    "spread": "standard deviation of the log strength beforehand",
    "middle_spread": "standard deviation of the mean threshold beforehand, in classes",
    "gap_spread": "standard deviation of the log gap between thresholds beforehand",
    "bias_spread": "standard deviation of the workers' biases beforehand, in classes",
    "slope_spread": "standard deviation of the workers' slopes beforehand",
    "noise_spread": "standard deviation of the log noise of workers beforehand",
    "lapse": "share of votes that are any label alike",
    "guide": "confusion, one-coin, or a maker of one's own",
    "network": "maker of a network of one's own; None takes the built-in one",
    "hidden": "widths of the hidden layers",
    "encoding": "first layer: one-hot, bag, codes; auto is one-hot to 300 workers, then bag",
    "beta": "weight of the divergence from the class prior",
    "prior": "class prior in the loss: label-shares or uniform",
    "readout": "whose posterior is the answer: guide or network",
    "n_epochs": "passes over the items, at most where early stopping is on",
    "patience": "epochs without a better prediction of the votes left out",
    "n_errors": "the first epoch within so many standard errors of the best prediction is taken",
    "left_out": "share of votes left out to stop by; 0 trains all epochs",
    "batch_items": "items a step",
    "learning_rate": "step size",
    "clip": "gradients are cut to this size, entry by entry",
    "kl_weight": "weight of the divergence from the class prior",
    "n_aspects": "aspects of an item: 0 LAA-B, 1 LAA-O, 2 or more LAA-L",
    "kl": "weight of the divergence from the vote shares",
    "l1": "penalty of absolute weights, divided by workers times squared classes",
    "l2": "penalty of the aspects' squared weights, divided by workers times squared aspects",
    "n_pretrain_epochs": "epochs in which the classifier learns the vote shares",
    "sharpness_spread": "standard deviation of the log sharpness of workers beforehand",
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


def inferences_table() -> str:
    """Every story of `bayes`, and what inverts it besides NUTS and SVI, which take any."""
    from crowdlearn.aggregators.conjugate import CAVI, GIBBS
    from crowdlearn.models import STORIES
    from crowdlearn.models_pyro import STORIES as TWINS

    rows = ["| story | `gibbs` runs | `cavi` runs | `svi-pyro` |", "|---|---|---|---|"]
    for story in STORIES:
        fast = [f"`{table[story][0]}`" if story in table else "" for table in (GIBBS, CAVI)]
        rows.append(f"| `{story}` | {' | '.join(fast)} | {'yes' if story in TWINS else ''} |")
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
