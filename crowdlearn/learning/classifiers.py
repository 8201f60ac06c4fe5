"""Classifiers of any make through one door: fit on soft labels, answer with probabilities.

A classifier is settings with `fit(features, target) -> fitted`, where `target` has a probability of
every class for every item: posteriors can be trained on as they are. What it fits answers
`predict_proba(features)` with a column for every class, also those it has not seen.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from crowdlearn.errors import SettingsError

SMALLEST = 0.01  # share of a class that a soft label is worth a row for
FLOOR = 1e-6  # probability given to classes that a model has not seen


@runtime_checkable
class FittedClassifier(Protocol):
    """What a classifier has learned."""

    def predict_proba(
        self, features: Float[np.ndarray, "item feature"]
    ) -> Float[np.ndarray, "item class"]:
        """Probabilities of all classes."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Settings of a classifier."""

    def fit(
        self, features: Float[np.ndarray, "item feature"], target: Float[np.ndarray, "item class"]
    ) -> FittedClassifier:
        """Learn from soft labels."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class SklearnClassifier:
    """Any scikit-learn classifier or pipeline, cloned for every fit.

    With `soft`, an item is a row for each class that holds at least 1 % of its posterior, weighed
    by it; the model must take `sample_weight`. Without, it is one row with its most probable class.
    Models without `predict_proba` answer with the softmax of their decision function: scores that
    order classes, not calibrated probabilities.
    """

    estimator: Any
    soft: bool = True

    def __post_init__(self) -> None:
        if self.soft and _weight_name(self.estimator) is None:
            raise SettingsError(
                f"{type(self.estimator).__name__} takes no sample_weight: use soft=False, which "
                "trains it on the most probable classes"
            )

    def fit(
        self, features: Float[np.ndarray, "item feature"], target: Float[np.ndarray, "item class"]
    ) -> FittedClassifier:
        from sklearn.base import clone

        item, label, weight = _rows(target, self.soft)
        seen = np.unique(label)
        if len(seen) == 1:
            return Constant(np.eye(target.shape[1])[seen[0]])
        name = _weight_name(self.estimator)
        more = {name: weight} if self.soft and name is not None else {}
        model = clone(self.estimator).fit(features[item], label, **more)
        return FittedSklearn(model, target.shape[1])


@dataclass(frozen=True, eq=False)
class FittedSklearn:
    """A fitted scikit-learn model; its classes are codes."""

    model: Any
    n_classes: int

    def predict_proba(
        self, features: Float[np.ndarray, "item feature"]
    ) -> Float[np.ndarray, "item class"]:
        found = np.full((len(features), self.n_classes), FLOOR)
        found[:, self.model.classes_.astype(int)] = self._answers(features)
        return found / found.sum(axis=1, keepdims=True)

    def _answers(self, features: np.ndarray) -> np.ndarray:
        if hasattr(self.model, "predict_proba"):
            return np.asarray(self.model.predict_proba(features), dtype=np.float64)
        score = np.asarray(self.model.decision_function(features), dtype=np.float64)
        if score.ndim == 1:
            score = np.stack([-score / 2, score / 2], axis=1)
        return np.asarray(softmax(score, axis=1))


@dataclass(frozen=True, eq=False)
class Constant:
    """The same probabilities for every item: all that one class, or no feature, can teach."""

    share: Float[np.ndarray, " class"]

    def predict_proba(
        self, features: Float[np.ndarray, "item feature"]
    ) -> Float[np.ndarray, "item class"]:
        return np.tile(self.share, (len(features), 1))


@dataclass(frozen=True)
class ConstantClassifier:
    """Learns nothing: every class alike for every item. The control."""

    def fit(
        self, features: Float[np.ndarray, "item feature"], target: Float[np.ndarray, "item class"]
    ) -> FittedClassifier:
        return Constant(np.full(target.shape[1], 1 / target.shape[1]))


def logistic() -> SklearnClassifier:
    """Multinomial logistic regression on soft labels, L2 penalty with C = 1."""
    from sklearn.linear_model import LogisticRegression

    return SklearnClassifier(estimator=LogisticRegression(max_iter=1000))


def svm() -> SklearnClassifier:
    """RBF support vector machine on standardised features, C = 1, gamma = scale; hard labels."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    model = make_pipeline(StandardScaler(), SVC(decision_function_shape="ovr"))
    return SklearnClassifier(estimator=model, soft=False)


def network() -> Classifier:
    """A perceptron with one hidden layer on torch, soft labels, early stopping."""
    from crowdlearn.learning.network import NetworkClassifier

    return NetworkClassifier()


CLASSIFIERS = {"logistic": logistic, "svm": svm, "network": network}
"""Classifiers by name, at their defaults."""


def classifier(name: str) -> Classifier:
    """The classifier of this name.

    Raises SettingsError for an unknown one, ImportError naming the extra that it needs.
    """
    if name not in CLASSIFIERS:
        raise SettingsError(f"classifier {name!r} is not one of {', '.join(CLASSIFIERS)}")
    try:
        found: Classifier = CLASSIFIERS[name]()
    except ImportError as error:
        extra = "torch" if name == "network" else "learning"
        raise ImportError(
            f"classifier {name!r} needs more: pip install 'crowdlearn[{extra}]'"
        ) from error
    return found


def out_of_fold(
    method: Classifier,
    features: Float[np.ndarray, "item feature"],
    target: Float[np.ndarray, "item class"],
    *,
    n_folds: int = 5,
    seed: int = 0,
) -> Float[np.ndarray, "item class"]:
    """Probabilities of every item by a fit that has not seen it (cross-validation in `n_folds`).

    Raises SettingsError for fewer than 2 folds, or more folds than items.
    """
    if not 2 <= n_folds <= len(features):
        raise SettingsError(
            f"n_folds is {n_folds}: from 2 to the {len(features)} items is possible"
        )
    fold = np.random.default_rng(seed).permutation(len(features)) % n_folds
    found = np.empty_like(target)
    for k in range(n_folds):
        fitted = method.fit(features[fold != k], target[fold != k])
        found[fold == k] = fitted.predict_proba(features[fold == k])
    return found


def _rows(target: np.ndarray, soft: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Item, class and weight of the rows that a soft label is trained as."""
    if not soft:
        return np.arange(len(target)), target.argmax(axis=1), np.ones(len(target))
    item, label = np.nonzero(target >= SMALLEST)
    return item, label, target[item, label]


def _weight_name(estimator: Any) -> str | None:
    """How `fit` of a model, or of the last step of a pipeline, is told the weights of rows."""
    steps = getattr(estimator, "steps", None)
    if steps:
        inner = _weight_name(steps[-1][1])
        return None if inner is None else f"{steps[-1][0]}__{inner}"
    known = inspect.signature(estimator.fit).parameters
    return "sample_weight" if "sample_weight" in known else None
