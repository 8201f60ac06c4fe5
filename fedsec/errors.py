"""The errors that users meet; each message says where, what was found, and what would do."""


class FedsecError(Exception):
    """Base of every error that this package raises on purpose."""


class DataError(FedsecError, ValueError):
    """Images, labels or a partition cannot be used as given."""


class SettingsError(FedsecError, ValueError):
    """A setting is out of its range, contradicts another one, or does not fit the data."""


class UpdateError(FedsecError, ValueError):
    """A client's update must not be used; the message names the client and the round."""
