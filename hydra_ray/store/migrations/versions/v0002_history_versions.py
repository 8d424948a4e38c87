"""A version of each user's history, so that what was made of it is known to be fresh."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates the table, with a version of every history that is there, and an index of what comes last in each."""
    op.create_index("history_by_place", "history", ["tenant", "user", "place"])
    versions = op.create_table(
        "history_versions",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("epoch", sa.String(), nullable=False),
        sa.Column("next_place", sa.Integer(), nullable=False),
        sa.Column("removed", sa.Integer(), nullable=False),
    )
    history = sa.table("history", sa.column("tenant"), sa.column("user"), sa.column("place"))
    of_users = sa.select(
        history.c.tenant, history.c.user, sa.literal("0.1.0"), sa.func.max(history.c.place) + 1, sa.literal(0)
    ).group_by(history.c.tenant, history.c.user)
    op.execute(sa.insert(versions).from_select(["tenant", "user", "epoch", "next_place", "removed"], of_users))
