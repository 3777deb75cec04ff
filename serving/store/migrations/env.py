"""Where Alembic begins: it runs the versions on the connection that `database.Database.upgrade` hands over."""

from alembic import context

from serving.store.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
