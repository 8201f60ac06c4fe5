"""Any generative story, inverted by any inference: `Bayes(story, inference)`.

Story       One of `crowdlearn.models.STORIES`, or a function of one's own: see the card.
Inference   NUTS or stochastic variational inference with the truths summed out exactly; or, where
            the story has them, the fast Gibbs sampler or coordinate ascent of this package. Item
            posteriors average the exact posterior of the truths over the draws. A worker's
            confusion matrix averages, over draws and over the worker's own votes, how probable the
            story holds each label under each class.
Paper       Paun, Carpenter, Chamberlain, Hovy, Kruschwitz and Poesio (2018), Comparing Bayesian
            models of annotation, TACL 6, for the default story.
Departures  New items are read by their workers' confusions: what a story says of an item's own
            parameters (its difficulty) is averaged over the training items.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.conjugate import fast_method
from crowdlearn.aggregators.engines import Cavi, Engine, Gibbs, Nuts, Svi, SviPyro, engine_of
from crowdlearn.aggregators.outcome import clamped, conclude
from crowdlearn.aggregators.settings import check_settings, settings_of
from crowdlearn.aggregators.stories import check_story, find_story, story_text
from crowdlearn.errors import SettingsError
from crowdlearn.gold import gold_codes
from crowdlearn.votes import Votes

DEVICES = ("auto", "cpu", "gpu", "jax-cpu")


@dataclass(frozen=True, kw_only=True)
class Bayes:
    """Settings of Bayesian inference for a story.

    `story` is a name, a function, or "module:function" (looked up in the working directory too).
    `inference` is "nuts", "svi", "svi-pyro", "gibbs" or "cavi", or their settings, as in
    `Nuts(n_draws=1000)`. `parameters` are hyperparameters of the story, defaults for the rest.
    """

    name: ClassVar[str] = "bayes"
    random: ClassVar[bool] = True

    story: Any = "hierarchical-dawid-skene"
    inference: Any = "nuts"
    parameters: dict[str, Any] | None = None
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        engine_of(self.inference)
        check_story(self.story, self.parameters)
        if self.device not in DEVICES:
            raise SettingsError(f"device {self.device!r} is not one of {', '.join(DEVICES)}")

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Posterior means, intervals and draws of the story's parameters.

        Raises SettingsError for a hyperparameter that the story cannot have, an engine that does
        not suit it, or a GPU that is not there, and StoryError for a story that cannot be inverted.
        """
        engine = engine_of(self.inference)
        if isinstance(engine, Gibbs | Cavi):
            return self._fast(engine, votes, gold, on_sweep)
        return self._draw(engine, votes, gold, on_sweep)

    def _fast(
        self, engine: Gibbs | Cavi, votes: Votes, gold: Any, on_sweep: OnSweep | None
    ) -> Aggregation:
        shared = {"seed": self.seed, "device": self.device, "n_threads": self.n_threads}
        story = story_text(self.story)
        method = fast_method(story, dict(self.parameters or {}), engine, shared)
        fit: Aggregation = method.fit(votes, gold=gold, on_sweep=on_sweep)
        return replace(fit, method=self.name, settings=self._recorded(engine))

    def _draw(
        self, engine: Nuts | Svi | SviPyro, votes: Votes, gold: Any, on_sweep: OnSweep | None
    ) -> Aggregation:
        from crowdlearn.aggregators.inverted import summarised
        from crowdlearn.inference.devices import on_device
        from crowdlearn.inference.switching import undo_switching
        from crowdlearn.inference.target import target_of
        from crowdlearn.models.data import vote_data

        started = time.perf_counter()
        known = gold_codes(votes, gold)
        shares = clamped(votes.shares(), known)
        with on_device("cpu" if isinstance(engine, SviPyro) else self.device):
            data = vote_data(votes, known)
            target = target_of(find_story(self.story), dict(self.parameters or {}), data)
            samples = self._samples(engine, target, votes, known, shares, data, on_sweep)
            samples, problems = undo_switching(target, samples, data, shares)
            summary = summarised(engine, target, samples, votes, data, self.seed)
        fit = conclude(
            self,
            votes,
            gold=known,
            posterior=summary.posterior,
            prior=summary.prior,
            confusion=summary.confusion,
            worker_accuracy=summary.accuracy,
            history=summary.history,
            predictor=summary.predictor,
            started=started,
            difficulty=summary.difficulty,
            draws=summary.draws,
            findings=(*problems, *summary.problems),
        )
        return replace(fit, settings=self._recorded(engine))

    def _samples(
        self,
        engine: Nuts | Svi | SviPyro,
        target: Any,
        votes: Votes,
        known: np.ndarray,
        shares: np.ndarray,
        data: Any,
        on_sweep: OnSweep | None,
    ) -> Any:
        from crowdlearn.aggregators.inverted import run_pyro, seed_key
        from crowdlearn.inference.batches import stacked_batches
        from crowdlearn.inference.nuts import run_nuts
        from crowdlearn.inference.svi import run_svi

        settings = settings_of(engine)
        if isinstance(engine, Nuts):
            return run_nuts(
                target,
                data,
                shares,
                seed_key(self.seed),
                **settings,
                n_threads=self.n_threads,
                on_sweep=on_sweep,
            )
        if isinstance(engine, Svi):
            rng = np.random.default_rng([self.seed, 2])
            batches = stacked_batches(votes, known, settings.pop("batch_items"), rng)
            key = seed_key(self.seed)
            return run_svi(target, data, batches, shares, key, **settings, on_sweep=on_sweep)
        if self.parameters:
            raise SettingsError("svi-pyro takes stories with their default hyperparameters alone")
        where = {"seed": self.seed, "device": self.device}
        return run_pyro(story_text(self.story), votes, known, **settings, **where, on_step=on_sweep)

    def _recorded(self, engine: Engine) -> dict[str, Any]:
        """Settings as plain JSON values, from which `Bayes(**settings)` is made again."""
        inference = {"name": engine.name, **settings_of(engine)}
        return settings_of(self) | {"story": story_text(self.story), "inference": inference}
