"""Defences of rising strength move the update further and further, and clients can train so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from fedsec.core.functional import flatten
from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.federated.local import FullGradient, LocalTraining
from fedsec.federated.privacy import PrivateSGD, Soteria, TopK
from fedsec.federated.simulate import Federation
from fedsec.inversion.adapt import adaptation_to
from fedsec.inversion.audit.ladders import LADDERS, can_adapt, federated, protected
from tests.fedsec.inversion.audit.audits import client


@pytest.mark.parametrize("name", LADDERS)
def test_a_stronger_rung_sends_something_further_off(name: str) -> None:
    ladder, subject = LADDERS[name], client(3)
    plain = flatten(subject.observed[0].update.tensors)
    alike = []
    for at in ladder.strengths:
        sent, _ = protected(subject, ladder.make(at), torch_stream(0, "test"))
        found = flatten(sent.observed[0].update.tensors)
        alike.append(float(torch.cosine_similarity(found, plain, dim=0)))
        assert sent.truth is subject.truth and sent.observed[0].parameters is not None
    assert all(one >= two - 1e-6 for one, two in zip(alike, alike[1:], strict=False))
    assert alike[0] > alike[-1] + 0.01


@pytest.mark.parametrize("name", LADDERS)
def test_whether_it_helps_to_know_is_what_the_adaptation_does(name: str) -> None:
    ladder, subject = LADDERS[name], client(3)
    for at in ladder.strengths:
        protection = ladder.make(at)
        sent, known = protected(subject, protection, torch_stream(0, "test"))
        plain = subject.observed[0].update.tensors
        adapted = adaptation_to(known)(plain, sent.observed[0].update.tensors)
        changes = any(not torch.equal(adapted[key], value) for key, value in plain.items())
        assert changes <= can_adapt(protection)


def test_own_images_are_needed_where_a_defence_looks_at_them() -> None:
    hidden = replace(client(), truth=None)
    for protection in (Soteria(), PrivateSGD()):
        with pytest.raises(SettingsError, match="needs the client's own images"):
            protected(hidden, protection, torch_stream(0, "test"))
    trained = client(2, LocalTraining(batch=1))
    with pytest.raises(SettingsError, match="clients that send one gradient"):
        protected(trained, PrivateSGD(), torch_stream(0, "test"))


def test_federations_are_protected_in_the_way_that_fits() -> None:
    plain = Federation(per_round=2, local=LocalTraining(lr=0.3))
    assert federated(plain, TopK(share=0.5)).defences == (TopK(share=0.5),)
    assert federated(plain, Soteria()).engine is not None
    private = federated(plain, PrivateSGD())
    assert private.local == FullGradient(lr=0.3) and private.engine is not None


def test_every_round_is_defended() -> None:
    subject = client(2)
    twice = replace(subject, observed=subject.observed * 2)
    sent, _ = protected(twice, TopK(share=0.1), torch_stream(0, "test"))
    for seen in sent.observed:
        entries = flatten(seen.update.tensors)
        assert int((entries != 0).sum()) <= -(-len(entries) // 10)
    for protection in (Soteria(share=0.5), PrivateSGD(noise_multiplier=0.0, norm=1e6)):
        sent, _ = protected(twice, protection, torch_stream(0, "test"))
        one, two = (seen.update.tensors for seen in sent.observed)
        assert_close(one, two, rtol=0, atol=0)
    assert_close(one, subject.observed[0].update.tensors, rtol=1e-4, atol=1e-7)
