"""What users want, and when heads and history items were written: age needs a time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Creates the table of preferences; of what is there already, nobody knows when it was written."""
    op.create_table(
        "user_preferences",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("personalisation", sa.Boolean(), nullable=False),
        sa.Column("said_at", sa.Float(), nullable=False),
    )
    op.add_column("history", sa.Column("stored_at", sa.Float()))
    op.add_column("heads", sa.Column("written_at", sa.Float()))
