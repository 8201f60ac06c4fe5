"""A story with its hyperparameters, as the functions that every inference needs.

There are two kinds of story. Most return what `marginalise` returns: their truths are summed out
already. A story may also draw its truths at a discrete site called "truth"; funsor then sums them
out. `tilt[i, k]` is added to the log probability of item `i` being of class `k`: it clamps gold
items, pulls a start towards the vote shares, and the posterior of the truths is the derivative of
the log density with respect to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer.util import constrain_fn, log_density, potential_energy

from crowdlearn.errors import SettingsError, StoryError
from crowdlearn.inference.enumerated import enumerated, enumerated_density
from crowdlearn.models.data import VoteData, items_of
from crowdlearn.models.reading import IMPOSSIBLE, Reading

Sites = dict[str, Any]
"""Site name -> its value, constrained (a draw) or unconstrained (a point of the sampler)."""


@dataclass(frozen=True)
class Target:
    """A story bound to its hyperparameters; made by `target_of`. Equal ones share compilation."""

    story: Callable[..., Any]
    parameters: tuple[tuple[str, Any], ...]
    sites: tuple[str, ...]  # the continuous latent ones
    item_sites: tuple[tuple[str, int], ...]  # those with a row for every item, and its axis
    free_axes: tuple[tuple[str, tuple[int, ...]], ...]  # axes of each site that no plate claims
    explicit: bool  # has it a discrete site "truth"?
    nesting: int  # of its plates

    def model(self, data: VoteData) -> Any:
        """The story itself, as a NumPyro model of the votes alone."""
        return self.story(data, **dict(self.parameters))

    def log_joint(self, z: Sites, data: VoteData) -> Float[Array, ""]:
        """Log density of unconstrained parameters and votes, the truths summed out (nats)."""
        if self.explicit:
            return self.anchored(z, data, jnp.zeros((data.n_items, data.n_classes)))
        return -potential_energy(self.model, (data,), {}, self.here(z, data))

    def anchored(
        self, z: Sites, data: VoteData, tilt: Float[Array, "all class"]
    ) -> Float[Array, ""]:
        """`log_joint` with every item's log class probabilities tilted; a row for each item."""
        if self.explicit:
            model = enumerated(self.model, tilt + clamp(data), self.nesting)
            return -potential_energy(model, (data,), {}, z, enum=True)
        return -potential_energy(self._tilted, (data, tilt), {}, self.here(z, data))

    def density(self, sites: Sites, data: VoteData) -> Float[Array, ""]:
        """Log density of a draw and the votes on the constrained space, without Jacobians."""
        if self.explicit:
            tilt = jnp.zeros((data.n_items, data.n_classes))
            return self._density_explicit(tilt, sites, data)
        return log_density(self.model, (data,), {}, self.latent(sites))[0]

    def constrain(self, z: Sites, data: VoteData) -> Sites:
        """The draw at a point, with the sites that the story computes from it."""
        found = constrain_fn(handlers.seed(self.model, 0), (data,), {}, z)
        return self.completed({name: found[name] for name in self.sites}, data)

    def completed(self, draw: Sites, data: VoteData) -> Sites:
        """A draw with the deterministic sites that follow from it."""
        model = handlers.substitute(handlers.seed(self.model, 0), data=self.latent(draw))
        trace = handlers.trace(model).get_trace(data)
        computed = {n: s["value"] for n, s in trace.items() if s["type"] == "deterministic"}
        return self.latent(draw) | computed

    def reading(self, sites: Sites, data: VoteData) -> Reading:
        """What the votes say of the items under one draw; of a marginalised story."""
        given = handlers.substitute(handlers.seed(self.model, 0), data=self.latent(sites))
        return given(data)

    def truth(self, sites: Sites, data: VoteData) -> Float[Array, "item class"]:
        """Exact posterior of every item's class under one draw."""
        if self.explicit:
            tilt = jnp.zeros((data.n_items, data.n_classes))
            return jax.grad(self._density_explicit)(tilt, self.latent(sites), data)
        return self.reading(sites, data).truth(data)

    def start(self, key: Array, data: VoteData, radius: float = 0.1) -> Sites:
        """An unconstrained point, uniform within `radius` of the origin."""
        shapes = jax.eval_shape(self._unconstrained, key, data)
        keys = dict(zip(shapes, jax.random.split(key, max(len(shapes), 1)), strict=False))
        return {
            name: jax.random.uniform(keys[name], s.shape, s.dtype, -radius, radius)
            for name, s in shapes.items()
        }

    def here(self, z: Sites, data: VoteData) -> Sites:
        """Of sites with a row for every item, the rows of this batch."""
        if data.n_here == data.n_items:
            return z
        axes = dict(self.item_sites)
        return {
            name: jnp.take(value, data.index, axis=axes[name]) if name in axes else value
            for name, value in z.items()
        }

    def latent(self, sites: Sites) -> Sites:
        """A draw without what is computed from it."""
        return {name: sites[name] for name in self.sites}

    def _tilted(self, data: VoteData, tilt: Float[Array, "all class"]) -> None:
        with handlers.block(hide=["votes"]):
            reading = self.model(data)
        n_subtypes = reading.log_prior.shape[1] // data.n_classes
        pull = jnp.repeat(tilt[data.index], n_subtypes, axis=1)
        total = logsumexp(reading.evidence(data) + pull, axis=1).sum()
        numpyro.factor("votes_and_tilt", data.scale * total)

    def _density_explicit(
        self, tilt: Float[Array, "item class"], sites: Sites, data: VoteData
    ) -> Float[Array, ""]:
        model = enumerated(self.model, tilt + clamp(data), self.nesting)
        return enumerated_density(model, data, self.latent(sites))

    def _unconstrained(self, key: Array, data: VoteData) -> Sites:
        trace = handlers.trace(handlers.seed(self.model, key)).get_trace(data)
        return {n: biject_to(trace[n]["fn"].support).inv(trace[n]["value"]) for n in self.sites}


def target_of(story: Callable[..., Any], parameters: dict[str, Any], data: VoteData) -> Target:
    """The story with these hyperparameters, looked over once on these votes.

    Raises StoryError where no inference here can invert it, and SettingsError for a hyperparameter
    that it does not have or that makes a prior improper.
    """
    check_parameters(story, parameters)
    _check_priors(story, parameters, data)
    trace, returned = _look(story, parameters, data)
    latent = [s for s in trace.values() if s["type"] == "sample" and not s["is_observed"]]
    discrete = [s for s in latent if s["fn"].support.is_discrete]
    continuous = [s for s in latent if not s["fn"].support.is_discrete]
    explicit = not isinstance(returned, Reading)
    _check_sites(story_name(story), trace, discrete, explicit, data)
    if not continuous:
        raise StoryError(
            f"story {story_name(story)!r} draws no parameters: give it a numpyro.sample site "
            "of a continuous distribution"
        )
    axes = {s["name"]: _item_axis(s) for s in continuous}
    return Target(
        story=story,
        parameters=tuple(sorted((k, _hashable(v)) for k, v in parameters.items())),
        sites=tuple(s["name"] for s in continuous),
        item_sites=tuple((name, axis) for name, axis in axes.items() if axis is not None),
        free_axes=tuple((s["name"], _free_axes(s)) for s in continuous),
        explicit=explicit,
        nesting=max((-f.dim for s in trace.values() for f in _plates(s)), default=0),
    )


def check_parameters(story: Callable[..., Any], parameters: dict[str, Any]) -> None:
    """Raises SettingsError for a hyperparameter that the story lacks or needs."""
    known = list(inspect.signature(story).parameters.values())
    if not known or known[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise StoryError(
            f"story {story_name(story)!r} must take the votes as its first argument, as in "
            "def my_story(data, *, count=1.0)"
        )
    names = [p.name for p in known[1:]]
    unknown = [name for name in parameters if name not in names]
    if unknown:
        raise SettingsError(
            f"story {story_name(story)!r} has no hyperparameter {unknown[0]!r}: it has "
            f"{', '.join(names) or 'none'}"
        )
    missing = [p.name for p in known[1:] if p.default is p.empty and p.name not in parameters]
    if missing:
        raise SettingsError(
            f"story {story_name(story)!r} needs the hyperparameter {missing[0]!r}: give it in "
            f"parameters={{{missing[0]!r}: ...}}"
        )


def story_name(story: Callable[..., Any]) -> str:
    return getattr(story, "__name__", type(story).__name__)


def clamp(data: VoteData) -> Float[Array, "item class"]:
    """A tilt that leaves gold items no class but their own."""
    other = data.gold[:, None] != jnp.arange(data.n_classes)
    return jnp.where((data.gold[:, None] >= 0) & other, IMPOSSIBLE, 0.0)


def _look(
    story: Callable[..., Any], parameters: dict[str, Any], data: VoteData
) -> tuple[dict[str, Any], Any]:
    """Sites and result of the story, by tracing it without computing anything."""
    found: list[tuple[dict[str, Any], Any]] = []

    def look(traced: VoteData) -> None:
        with handlers.seed(rng_seed=0), handlers.trace() as trace:
            returned = story(traced, **parameters)
        found.append((dict(trace), returned))

    jax.eval_shape(look, data)
    return found[0]


def _check_priors(story: Callable[..., Any], parameters: dict[str, Any], data: VoteData) -> None:
    """Run a user's story at one point on two items, NumPyro checking every distribution there."""
    if story.__module__.startswith("crowdlearn.models."):
        return  # these check their hyperparameters themselves
    n_few = min(2, data.n_items)
    few = replace(items_of(data, jnp.arange(n_few)), n_items=n_few)
    try:
        with (
            numpyro.validation_enabled(),
            handlers.seed(rng_seed=0),
            handlers.trace(),
            handlers.substitute(substitute_fn=_inside),
        ):
            story(few, **parameters)
    except ValueError as error:
        if "invalid" not in str(error) or isinstance(error, SettingsError):
            raise
        raise SettingsError(f"story {story_name(story)!r}: {error}") from error


def _inside(site: dict[str, Any]) -> Array | None:
    """A value of a continuous latent site within its support; to draw one would take seconds."""
    if site["type"] != "sample" or site["is_observed"] or site["fn"].support.is_discrete:
        return None
    to_support = biject_to(site["fn"].support)
    return to_support(jnp.full(to_support.inverse_shape(site["fn"].shape()), 0.1))


def _check_sites(
    name: str, trace: dict[str, Any], discrete: list[Any], explicit: bool, data: VoteData
) -> None:
    for site in discrete:
        if not explicit:
            raise StoryError(
                f"story {name!r} draws the discrete site {site['name']!r} besides returning a "
                "Reading: sum it out in the probabilities that you pass to marginalise"
            )
        if not site["fn"].has_enumerate_support:
            raise StoryError(
                f"story {name!r}: the discrete site {site['name']!r} "
                f"({type(_base(site['fn'])).__name__}) has no finite list of values, so it cannot "
                "be summed out: give it a Categorical, or make it continuous"
            )
    if not explicit:
        return
    truth = next((s for s in discrete if s["name"] == "truth"), None)
    if truth is None:
        raise StoryError(
            f"story {name!r} returns no Reading and has no discrete site 'truth': end it with "
            "`return marginalise(data, log_prior, log_vote)`, or draw the classes with "
            "numpyro.sample('truth', ...) in a plate of data.n_items"
        )
    n_values = truth["fn"].enumerate_support(expand=False).shape[0]
    if data.n_items not in [f.size for f in _plates(truth)] or n_values != data.n_classes:
        raise StoryError(
            f"story {name!r}: the site 'truth' must take {data.n_classes} values (the classes) in "
            f"a plate of {data.n_items} (the items); it has {n_values} values in plates of "
            f"{[f.size for f in _plates(truth)]}"
        )


def _base(fn: Any) -> Any:
    return _base(fn.base_dist) if hasattr(fn, "base_dist") else fn


def _plates(site: dict[str, Any]) -> list[Any]:
    return site.get("cond_indep_stack", [])


def _axis(site: dict[str, Any], frame: Any) -> int:
    return frame.dim - site["fn"].event_dim


def _item_axis(site: dict[str, Any]) -> int | None:
    """The axis of the plate of items; the plate must bear that name."""
    return next((_axis(site, f) for f in _plates(site) if f.name == "item"), None)


def _free_axes(site: dict[str, Any]) -> tuple[int, ...]:
    """Axes, counted from the end, that belong to no plate of workers or items."""
    taken = {_axis(site, f) for f in _plates(site) if f.name in ("item", "worker")}
    n_axes = len(site["fn"].batch_shape) + site["fn"].event_dim
    return tuple(axis for axis in range(-n_axes, 0) if axis not in taken)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
