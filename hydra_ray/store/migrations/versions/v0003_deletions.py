"""How often each user was deleted; writers of one user take turns by its rows."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "deletions",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False),
    )
