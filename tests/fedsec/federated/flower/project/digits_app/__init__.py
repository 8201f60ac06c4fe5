"""A Flower project that the tests run on Ray, and in one process."""
