"""Operations on projects: what app, API and command line have in common.

Each is a function of a connection, an actor and its arguments; it asks for the right first, and
changes all it should or nothing. `Folder` is the background worker that keeps the estimates.
"""
