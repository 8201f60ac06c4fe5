from tests.crowdlearn.models.conftest import small

__all__ = ["small"]
