"""Classifiers through one door."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import SettingsError
from crowdlearn.learning import (
    CLASSIFIERS,
    Classifier,
    ConstantClassifier,
    SklearnClassifier,
    classifier,
    out_of_fold,
)
from crowdlearn.learning.classifiers import logistic


def blobs(n: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three well apart classes in the plane."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    return centres[truth] + rng.normal(size=(n, 2)), truth


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_learns_and_answers_all_classes(name: str) -> None:
    features, truth = blobs()
    method = classifier(name)
    assert isinstance(method, Classifier)
    target = np.eye(4)[truth]  # class 3 is never seen
    found = method.fit(features, target).predict_proba(features)
    assert found.shape == (150, 4)
    assert_allclose(found.sum(axis=1), 1)
    assert (found >= 0).all() and (found[:, 3] < 0.1).all()
    assert (found.argmax(axis=1) == truth).mean() > 0.95
    again = method.fit(features, target).predict_proba(features)
    assert_array_equal(found, again)


def test_two_classes_by_a_decision_function_alone() -> None:
    features, truth = blobs()
    found = classifier("svm").fit(features, np.eye(2)[(truth == 1).astype(int)])
    assert (found.predict_proba(features).argmax(axis=1) == (truth == 1)).mean() > 0.95


def test_soft_labels_are_weights_of_rows() -> None:
    """Half-half labels teach what two copies with each label do."""
    features, truth = blobs(60)
    target = 0.7 * np.eye(3)[truth] + 0.3 * np.eye(3)[(truth + 1) % 3]
    by_soft = logistic().fit(features, target).predict_proba(features)
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000).fit(
        np.concatenate([features, features]),
        np.concatenate([truth, (truth + 1) % 3]),
        sample_weight=np.repeat([0.7, 0.3], 60),
    )
    assert_allclose(by_soft, model.predict_proba(features), atol=1e-3)


def test_a_class_alone_is_answered_always() -> None:
    found = logistic().fit(np.zeros((5, 2)), np.tile([0.0, 1.0, 0.0], (5, 1)))
    assert_array_equal(found.predict_proba(np.ones((2, 2))), [[0, 1, 0], [0, 1, 0]])


def test_what_takes_no_weights_says_what_to_do() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    with pytest.raises(SettingsError, match="KNeighborsClassifier takes no sample_weight: use so"):
        SklearnClassifier(estimator=KNeighborsClassifier())
    features, truth = blobs()
    hard = SklearnClassifier(estimator=KNeighborsClassifier(), soft=False)
    found = hard.fit(features, np.eye(3)[truth]).predict_proba(features)
    assert (found.argmax(axis=1) == truth).mean() > 0.95


def test_out_of_fold_has_not_seen_the_item() -> None:
    """A nearest neighbour repeats what it has seen: random labels are then at chance."""
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    features, label = rng.normal(size=(300, 5)), rng.integers(0, 2, 300)
    target = np.eye(2)[label]
    nearest = SklearnClassifier(estimator=KNeighborsClassifier(1), soft=False)
    seen = nearest.fit(features, target).predict_proba(features)
    unseen = out_of_fold(nearest, features, target)
    assert (seen.argmax(axis=1) == label).all()
    assert 0.4 < (unseen.argmax(axis=1) == label).mean() < 0.6
    assert_array_equal(unseen, out_of_fold(nearest, features, target))


@pytest.mark.parametrize("n_folds", [1, 11])
def test_impossible_folds_are_refused(n_folds: int) -> None:
    with pytest.raises(SettingsError, match="from 2 to the 10 items"):
        out_of_fold(ConstantClassifier(), np.zeros((10, 1)), np.eye(10), n_folds=n_folds)


def test_an_unknown_classifier_is_refused() -> None:
    with pytest.raises(SettingsError, match="'swm' is not one of logistic, svm, network"):
        classifier("swm")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("svm", "sklearn.svm", "learning"), ("network", "crowdlearn.learning.network", "torch")],
)
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'crowdlearn\[{extra}\]'"):
        classifier(name)
