"""Experts may err: what one answer of a fallible expert says, and an expert as a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.errors import SettingsError
from crowdlearn.votes import Votes


def expert_confusion(accuracy: float, n_classes: int) -> Float[np.ndarray, "class class"]:
    """Rows [truth, answer] of an expert who errs evenly. Raises SettingsError outside (0, 1]."""
    _check(accuracy)
    wrong = (1 - accuracy) / (n_classes - 1)
    return wrong + (accuracy - wrong) * np.eye(n_classes)


def after_answers(
    posterior: Float[np.ndarray, "item class"],
    answers: Int[np.ndarray, " item"],
    expert: Float[np.ndarray, "class class"],
) -> Float[np.ndarray, "item class"]:
    """Posteriors once an expert with these rows [truth, answer] has given these answers (Bayes).

    Answers are class codes, -1 where there is none. An answer that the posterior and the expert
    rule out together leaves the posterior as it was.
    """
    given = answers >= 0
    weight = posterior[given] * expert[:, answers[given]].T
    total = weight.sum(axis=1, keepdims=True)
    after = posterior.copy()
    after[given] = np.where(total > 0, weight / np.where(total > 0, total, 1), posterior[given])
    return after


def strong_prior(accuracy: float, answers: float = 100.0) -> tuple[float, float]:
    """(right, wrong) counts of an expert known from so many answers, as `stream(experts=)` takes.

    With them the expert is a worker like any other: its answers are votes, and its accuracy is
    learned on. Raises SettingsError for an accuracy outside (0, 1) or no answers.
    """
    _check(accuracy)
    if not (accuracy < 1 and answers > 0):
        raise SettingsError("an expert who never errs gives gold answers: pass them as answers=")
    return accuracy * answers, (1 - accuracy) * answers


def votes_of(expert: str, answers: Mapping[str, str], classes: Sequence[str]) -> Votes:
    """Answers (item -> class) as votes of a worker of this name.

    Raises SettingsError for an answer that is not one of the classes.
    """
    strange = [label for label in answers.values() if label not in classes]
    if strange:
        raise SettingsError(f"answer {strange[0]!r} is not one of {', '.join(classes)}")
    return Votes.from_codes(
        np.arange(len(answers)), np.zeros(len(answers), dtype=np.int64),
        np.array([classes.index(label) for label in answers.values()], dtype=np.int64),
        items=list(answers), workers=[expert], classes=classes,
    )  # fmt: skip


def _check(accuracy: float) -> None:
    if not 0 < accuracy <= 1:
        raise SettingsError(f"the accuracy of an expert is above 0 and at most 1, not {accuracy!r}")
