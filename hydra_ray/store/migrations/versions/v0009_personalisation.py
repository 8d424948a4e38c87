"""The switch of personalisation, for a tenant or for all."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Creates the table; with no row in it, everybody is personalised as before."""
    op.create_table(
        "personalisation",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("off_since", sa.Float(), nullable=False),
    )
