"""The tables of 0.1.0; those that are there already stay as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates what is missing: 0.1.0 added tables of its own accord."""
    op.create_table(
        "history",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("ts", sa.String()),
        sa.Column("item_id", sa.String()),
        sa.Column("context", sa.Text(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "heads",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("version", sa.String(), primary_key=True),
        sa.Column("role", sa.String(), primary_key=True),
        sa.Column("mark", sa.String(), nullable=False),
        sa.Column("stamp", sa.String(), nullable=False),
        sa.Column("head", sa.LargeBinary()),
        if_not_exists=True,
    )
    op.create_table(
        "evidence",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("version", sa.String(), primary_key=True),
        sa.Column("role", sa.String(), primary_key=True),
        sa.Column("item", sa.String(), primary_key=True),
        sa.Column("told", sa.LargeBinary(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "profiles",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("how", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("degraded", sa.Boolean(), nullable=False),
        sa.Column("dropped", sa.Integer(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "profile_peers",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("peer", sa.String(), primary_key=True),
        if_not_exists=True,
    )
    op.create_index("profile_peers_by_peer", "profile_peers", ["tenant", "peer"], if_not_exists=True)
