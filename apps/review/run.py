"""How the review app is started: a command line and an environment for it."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address
from pathlib import Path

from crowdlearn.errors import SettingsError

APP = Path(__file__).with_name("app.py")
SERVER = APP.with_name("server.py")
MODES = ("none", "password", "oidc")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def command(
    store: str,
    *,
    auth: str = "none",
    port: int = 8501,
    host: str = "127.0.0.1",
    project: str | None = None,
    headless: bool = False,
) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of the process that serves the app on `host` and `port`.

    `auth` is none (whoever reaches it is the owner), password, or oidc; `project` is opened first.
    Raises SettingsError for an unknown `auth`, a bad port, or none on a host others can reach.
    """
    if auth not in MODES:
        raise SettingsError(f"auth {auth!r} is not one of {', '.join(MODES)}")
    if not 0 < port < 65536:
        raise SettingsError(f"a port is from 1 to 65535, not {port}")
    if auth == "none" and not is_loopback(host):
        raise SettingsError(
            f"auth none on {host} would let everybody in who reaches it: "
            "use auth password or oidc, or the host 127.0.0.1"
        )
    options = {
        "server.port": str(port), "server.address": host, "server.headless": _said(headless),
        "server.fileWatcherType": "none", "server.enableXsrfProtection": "true",
        "browser.gatherUsageStats": "false", "client.toolbarMode": "minimal",
        "runner.magicEnabled": "false",
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    for name in LOOPBACK if is_loopback(host) and auth == "none" else ():
        flags += ["--server.allowedHosts", name]  # another name in front would be a rebound one
    environment = dict(os.environ) | {"CROWDLEARN_STORE": store, "CROWDLEARN_AUTH": auth}
    environment.pop("CROWDLEARN_PROJECT", None)
    if project is not None:
        environment["CROWDLEARN_PROJECT"] = project
    return [sys.executable, "-m", "apps.review", "run", str(SERVER), *flags], environment


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _said(value: bool) -> str:
    return "true" if value else "false"
