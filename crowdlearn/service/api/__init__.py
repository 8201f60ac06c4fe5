"""The service over HTTP: `create_app` makes it, `serve` runs it."""

from crowdlearn.service.api.app import create_app
from crowdlearn.service.api.serving import serve

__all__ = ["create_app", "serve"]
