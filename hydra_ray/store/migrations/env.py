"""Runs the revisions on the connection that `store.schema` hands over, in its transaction."""

from alembic import context

from hydra_ray.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
