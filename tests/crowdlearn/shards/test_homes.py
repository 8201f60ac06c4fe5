import sys
import types

import pytest

from crowdlearn.errors import SettingsError
from crowdlearn.shards.homes import belongs_to_cluster, home_of


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No cluster, whatever ran before."""
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_votes_are_coded_for_a_cluster_and_where_it_is_asked():
    assert home_of("bcc", None, None, None, False) is None
    assert home_of("bcc", "auto", None, None, False) is None
    assert home_of("glad", "gpu", None, None, False) is None
    assert home_of("bcc", "ray", None, 3, False) == "ray"
    assert home_of("bcc", "ray://host:10001", None, None, False) == "ray://host:10001"
    assert home_of("bcc", None, 4 << 30, None, False) == "cpu"
    assert home_of("bcc", None, None, None, True) == "cpu"
    assert home_of("bcc", "auto", None, None, True) == "auto"


def test_auto_is_the_cluster_that_the_process_belongs_to(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: True))
    assert belongs_to_cluster()
    assert home_of("bcc", "auto", None, None, False) == "ray"
    assert home_of("bcc", "auto", 4 << 30, None, False) == "auto"  # one machine was asked for
    assert home_of("glad", "auto", None, None, False) is None
    assert home_of("bcc", None, None, None, False) is None


def test_an_address_in_the_environment_is_a_cluster_too(monkeypatch):
    assert not belongs_to_cluster()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr("crowdlearn.shards.homes.find_spec", lambda name: None)
    assert not belongs_to_cluster()
    monkeypatch.setattr("crowdlearn.shards.homes.find_spec", lambda name: object())
    assert belongs_to_cluster()


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (("glad", "ray", None, None, False), "method glad: is none that fits coded votes: choose"),
        (("majority", None, 1, None, False), "method majority: is none"),
        (("bcc", "ray", 1, None, False), "memory: is what one machine may take"),
        (("bcc", "cpu", None, 2, False), "actors: are for device 'ray'"),
        (("bcc", "gpu", 1, None, False), "device 'gpu': coded votes are fitted on auto, cpu, ray"),
    ],
)
def test_what_cannot_be_is_said(wish, said):
    with pytest.raises(SettingsError, match=said):
        home_of(*wish)
