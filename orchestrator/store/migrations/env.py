"""What Alembic runs: the missing migrations, on the connection of `orchestrator.store.migrate`.

A new one is written by hand, as a file of versions/; tests/unit/orchestrator/store compares what all of them
make with `orchestrator.store.tables`.
"""

from alembic import context

from orchestrator.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # on SQLite as well: the transaction has begun already
    render_as_batch=True,  # SQLite alters a table by making another one
)
with context.begin_transaction():
    context.run_migrations()
