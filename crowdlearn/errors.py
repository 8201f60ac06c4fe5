"""The errors and warnings that users meet; each message says where, what, and what would do."""


class CrowdlearnError(Exception):
    """Base of every error that this package raises on purpose."""


class VotesError(CrowdlearnError, ValueError):
    """Votes, truth or gold answers cannot be used as given; the message names the place."""


class SettingsError(CrowdlearnError, ValueError):
    """A setting is out of its range, or a name is not in its table."""


class StoryError(CrowdlearnError, ValueError):
    """A generative story cannot be inverted as it is written; the message names the site."""


class OutputError(CrowdlearnError, OSError):
    """A result could not be written; nothing of it was left behind."""


class ClusterError(CrowdlearnError):
    """A cluster lost what a fit cannot do without; the message says what would do."""


class StoreError(CrowdlearnError):
    """A store cannot be opened, or is not of the version that this package reads."""


class ServiceError(CrowdlearnError):
    """An operation on a project was refused; nothing was changed."""


class NotFoundError(ServiceError):
    """There is no such thing, or none that the actor may know of."""


class NotAllowedError(ServiceError):
    """The actor may see the project, but not do this."""


class ConflictError(ServiceError):
    """Somebody else was first: look at the item again, and decide anew."""


class VotesWarning(UserWarning):
    """Votes were used, but a part of them was left out or looks wrong; the message counts it."""


class ConvergenceWarning(UserWarning):
    """A fit stopped before it settled; the message says what would do."""
