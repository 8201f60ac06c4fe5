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


class VotesWarning(UserWarning):
    """Votes were used, but a part of them was left out or looks wrong; the message counts it."""


class ConvergenceWarning(UserWarning):
    """A fit stopped before it settled; the message says what would do."""
