"""What users said, as they said it, and what was deleted for good."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Creates both tables; of what was said before there is only what it became: history and observations."""
    op.create_table(
        "feedback_events",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("said", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("candidates", sa.Text(), nullable=False),
        sa.Column("history", sa.Text(), nullable=False),
        sa.Column("ts", sa.String()),
        sa.Column("completion_id", sa.String()),
        sa.Column("method", sa.String()),
        sa.Column("propensity", sa.Float()),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("said_at", sa.String(), nullable=False),
    )
    op.create_table(
        "tombstones",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("item", sa.String(), primary_key=True),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
    )
