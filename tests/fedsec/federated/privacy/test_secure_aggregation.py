"""Masks cancel exactly, hide each update, and the mean is right to the fixed-point step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fedsec.core.functional import flatten
from fedsec.core.record import Update
from fedsec.core.rng import stream
from fedsec.errors import SettingsError, UpdateError
from fedsec.federated.privacy.secure_aggregation import (
    SecureAggregation,
    add_up,
    keystream,
    pair_key,
    pair_masks,
    public_key,
)


def some_updates(n_clients: int, seed: int = 0, size: int = 7, scale: float = 1.0) -> list[Update]:
    """Updates of clients 3, 4, ... in round 5, of 1 to 50 samples each."""
    rng = stream(seed, "updates")
    return [
        Update(
            "delta",
            {
                "weight": torch.from_numpy(scale * rng.uniform(-1, 1, (size, 2))).float(),
                "bias": torch.from_numpy(scale * rng.uniform(-1, 1, 3)),
            },
            round=5,
            client=3 + k,
            n=int(rng.integers(1, 51)),
        )
        for k in range(n_clients)
    ]


def some_keys(updates: list[Update], seed: int = 0) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Secret and public keys by client."""
    rng = stream(seed, "keys")
    secrets = {update.client: rng.bytes(32) for update in updates}
    return secrets, {client: public_key(secret) for client, secret in secrets.items()}


def messages_of(method: SecureAggregation, updates: list[Update]):
    """What the clients send, with equal weights; and the ids of all."""
    secrets, public = some_keys(updates)
    weight = 1 / len(updates)
    sent = [method.masked(one, weight, secrets[one.client], public) for one in updates]
    return sent, list(public)


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(0, 100), st.integers(0, 30))
def test_masks_cancel_bit_for_bit(n_clients, seed, bits):
    method = SecureAggregation(bits=bits, range=1.0)
    updates = some_updates(n_clients, seed)
    sent, participants = messages_of(method, updates)
    plain = np.zeros_like(sent[0].entries)
    for update in updates:
        plain += method.encode(update, 1 / n_clients)
    assert np.array_equal(add_up(sent, participants, 5), plain)


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(0, 100), st.integers(0, 30))
def test_the_mean_is_the_weighted_mean_to_half_a_step_a_client(n_clients, seed, bits):
    method = SecureAggregation(bits=bits, range=1.0)
    updates = some_updates(n_clients, seed)
    found = method.mean(updates, stream(seed, "keys"))
    n_total = sum(update.n for update in updates)
    for name, value in found.items():
        exact = sum(update.n / n_total * update.tensors[name].double() for update in updates)
        rounding = torch.finfo(value.dtype).eps
        assert (value - exact).abs().max() <= n_clients * method.step / 2 + rounding
        assert value.dtype == updates[0].tensors[name].dtype


def test_the_mean_does_not_depend_on_the_keys_or_the_order():
    updates = some_updates(4)
    method = SecureAggregation()
    first = flatten(method.mean(updates, stream(0, "keys")))
    assert torch.equal(first, flatten(method.mean(updates, stream(1, "keys"))))
    again = [replace(one, client=9 - one.client) for one in updates[::-1]]
    assert torch.equal(first, flatten(method.mean(again, stream(0, "keys"))))


def uniform_bytes(entries: np.ndarray) -> float:
    """The p-value of a chi-square test of all bytes against equal frequencies."""
    return float(chisquare(np.bincount(entries.view(np.uint8), minlength=256)).pvalue)


def test_a_masked_update_is_uniform_and_so_is_every_sum_without_one():
    updates = [replace(one, tensors={"a": torch.full((20_000,), 0.1)}) for one in some_updates(4)]
    method = SecureAggregation()
    sent, _ = messages_of(method, updates)
    assert uniform_bytes(method.encode(updates[0], 0.25)) < 1e-6  # the test sees what is not
    for one in sent:
        assert uniform_bytes(one.entries) > 1e-3
    total = sum((one.entries for one in sent), start=np.zeros(20_000, dtype=np.uint32))
    for one in sent:
        assert uniform_bytes(total - one.entries) > 1e-3


def test_pairs_agree_and_another_round_or_company_has_other_masks():
    updates = some_updates(3)
    secrets, public = some_keys(updates)
    assert pair_key(secrets[3], public[4], b"x") == pair_key(secrets[4], public[3], b"x")
    masks = [
        pair_masks(3, secrets[3], public, 5, 8),
        pair_masks(3, secrets[3], public, 6, 8),
        pair_masks(3, secrets[3], {3: public[3], 4: public[4]}, 5, 8),
        pair_masks(4, secrets[4], public, 5, 8),
    ]
    assert len({mask.tobytes() for mask in masks}) == 4


def test_the_stream_is_chacha20():
    """RFC 8439, appendix A.1, test vector 1."""
    first = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    assert keystream(bytes(32), 8).astype("<u4").tobytes() == first


def test_a_client_that_sent_nothing_is_named():
    sent, participants = messages_of(SecureAggregation(), some_updates(4))
    with pytest.raises(UpdateError, match="client 5, round 5: nothing was sent.*without it"):
        add_up([one for one in sent if one.client != 5], participants, 5)
    with pytest.raises(UpdateError, match="client 3, 6, round 5"):
        add_up([one for one in sent if one.client in (4, 5)], participants, 5)
    late = [replace(one, round=4) if one.client == 4 else one for one in sent]
    with pytest.raises(UpdateError, match="client 4, round 5"):
        add_up(late, participants, 5)


def test_a_message_too_many_is_refused():
    sent, participants = messages_of(SecureAggregation(), some_updates(3))
    with pytest.raises(UpdateError, match=r"\[3, 3, 4, 5\] sent"):
        add_up([*sent, sent[0]], participants, 5)


def test_a_value_out_of_range_is_refused_by_name():
    updates = some_updates(3)
    updates[1].tensors["bias"][2] = -2.5
    method = SecureAggregation(range=2.0)
    with pytest.raises(UpdateError, match=r"client 4, round 5: an entry of 'bias'.*2\.5.*range 2"):
        method.mean(updates, stream(0, "keys"))


def test_a_weight_above_one_could_overflow_and_is_refused():
    with pytest.raises(SettingsError, match="client 3: weight 1.5"):
        SecureAggregation().encode(some_updates(1)[0], 1.5)


def test_the_ends_of_the_range_do_not_overflow():
    method = SecureAggregation(bits=30, range=1.0)
    for sign in (-1.0, 1.0):
        updates = [replace(one, tensors={"a": torch.full((3,), sign)}) for one in some_updates(5)]
        mean = method.mean(updates, stream(0, "keys"))
        torch.testing.assert_close(mean["a"], torch.full((3,), sign))


@pytest.mark.parametrize("bad", [{"bits": 31}, {"bits": -1}, {"bits": 24, "range": 65.0},
                                 {"range": 0.0}, {"range": float("nan")}])  # fmt: skip
def test_a_fixed_point_that_does_not_fit_is_refused(bad):
    with pytest.raises(SettingsError, match="secure aggregation"):
        SecureAggregation(**bad)


def test_updates_that_cannot_be_summed_are_refused():
    method, rng = SecureAggregation(), stream(0, "keys")
    one, two = some_updates(2)
    with pytest.raises(SettingsError, match="at least 2"):
        method.mean([one], rng)
    with pytest.raises(UpdateError, match="twice"):
        method.mean([one, one], rng)
    with pytest.raises(UpdateError, match="client 4, round 6"):
        method.mean([one, replace(two, round=6)], rng)
    with pytest.raises(UpdateError, match="client 4.*shapes"):
        method.mean([one, replace(two, tensors={"weight": torch.zeros(2)})], rng)
    with pytest.raises(UpdateError, match="client 4, round 5: it has no samples"):
        method.mean([one, replace(two, n=0)], rng)
    with pytest.raises(UpdateError, match="client 4, round 5.*'running_mean'"):
        method.mean([one, replace(two, buffers={"running_mean": torch.zeros(2)})], rng)
    two.tensors["bias"][0] = float("nan")
    with pytest.raises(UpdateError, match="client 4, round 5: 1 of 3 entries of 'bias'"):
        method.mean([one, two], rng)
