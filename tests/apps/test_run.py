"""How the app is started, how long a sign-in waits, which key a class has."""

from __future__ import annotations

from itertools import pairwise

import pytest

from apps.review.class_buttons import keys_of
from apps.review.run import SERVER, command
from apps.review.signing_in import LONGEST_WAIT, Patience, wait_after
from crowdlearn.errors import SettingsError


def test_the_command_names_the_script_and_the_environment_the_store() -> None:
    argv, environment = command(
        "s.db", auth="password", port=8600, host="0.0.0.0", project="p", headless=True
    )
    assert argv[1:5] == ["-m", "apps.review", "run", str(SERVER)] and SERVER.exists()
    options = dict(zip(argv[5::2], argv[6::2], strict=True))
    assert options["--server.port"] == "8600" and options["--server.address"] == "0.0.0.0"
    assert options["--server.headless"] == "true"
    assert options["--server.enableXsrfProtection"] == "true"
    assert environment["CROWDLEARN_STORE"] == "s.db"
    assert environment["CROWDLEARN_AUTH"] == "password"
    assert environment["CROWDLEARN_PROJECT"] == "p"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_without_sign_in_only_this_machine_is_served(host: str) -> None:
    with pytest.raises(SettingsError, match="everybody"):
        command("s.db", auth="none", host=host)
    argv, _ = command("s.db", auth="none", host="127.0.0.1")
    assert argv.count("--server.allowedHosts") == 3


@pytest.mark.parametrize(("auth", "port"), [("ldap", 8501), ("none", 0), ("none", 70000)])
def test_what_cannot_be_started_is_refused(auth: str, port: int) -> None:
    with pytest.raises(SettingsError):
        command("s.db", auth=auth, port=port)


def test_the_wait_grows_from_the_fifth_failure_to_its_bound() -> None:
    waits = [wait_after(n) for n in range(30)]
    assert waits[:6] == [0, 0, 0, 0, 0, 1] and waits[-1] == LONGEST_WAIT
    assert all(one <= other for one, other in pairwise(waits))


def test_failures_count_by_name_and_end_with_a_success() -> None:
    tries = Patience()
    for _ in range(6):
        tries.begin("ann", 100.0)
    assert tries.begin("ann", 100.5) > 0 and tries.begin("bob", 100.5) == 0
    assert tries.begin("ann", 1e6) == 0
    tries.succeeded("ann")
    assert tries.begin("ann", 1e6) == 0 and tries.begin("ann", 1e6) == 0


def test_classes_that_are_digits_have_their_own_keys() -> None:
    assert keys_of(tuple("0123456789")) == "0123456789"
    assert keys_of(("1", "2", "3", "4")) == "1234"
    assert keys_of(("cat", "dog")) == "12"
    assert keys_of(tuple(f"c{k}" for k in range(12))) == "1234567890"
