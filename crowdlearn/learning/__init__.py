"""Crowd and classifier together: what features know about items joins what workers say of them."""

from __future__ import annotations

from typing import Any

from crowdlearn.learning.classifiers import (
    CLASSIFIERS,
    Classifier,
    ConstantClassifier,
    FittedClassifier,
    SklearnClassifier,
    classifier,
    out_of_fold,
)
from crowdlearn.learning.expert import Expert
from crowdlearn.learning.feature_aware import FeatureAware, FeatureAwareFit
from crowdlearn.learning.pipeline import NoisyCrowdPipeline, PipelineState, Step

LAZY = {
    "NetworkClassifier": "crowdlearn.learning.network",
    "convolutional": "crowdlearn.learning.network",
    "CrowdLayer": "crowdlearn.learning.crowd_networks",
    "Conal": "crowdlearn.learning.crowd_networks",
}  # these need torch

__all__ = [
    "CLASSIFIERS",
    "Classifier",
    "Conal",
    "ConstantClassifier",
    "CrowdLayer",
    "Expert",
    "FeatureAware",
    "FeatureAwareFit",
    "FittedClassifier",
    "NetworkClassifier",
    "NoisyCrowdPipeline",
    "PipelineState",
    "SklearnClassifier",
    "Step",
    "classifier",
    "convolutional",
    "out_of_fold",
]


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(LAZY[name]), name)
    except ImportError as error:
        raise ImportError(f"{name} needs torch: pip install 'crowdlearn[torch]'") from error
