"""Run by Alembic: migrations happen on the connection that `migrate.upgrade` opened."""

from alembic import context

from crowdlearn.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
