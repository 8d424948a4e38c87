"""Aliases of versions of the base, who holds which version, and which were deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Creates the three tables, empty."""
    op.create_table(
        "model_aliases",
        sa.Column("alias", sa.String(), primary_key=True),
        sa.Column("revision", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.String()),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("changed", sa.String(), nullable=False),
    )
    op.create_table(
        "model_uses",
        sa.Column("holder", sa.String(), primary_key=True),
        sa.Column("version", sa.String(), primary_key=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
    )
    op.create_table(
        "model_removals",
        sa.Column("version", sa.String(), primary_key=True),
        sa.Column("removed", sa.String(), nullable=False),
    )
