"""Encodings are found by their texts, so that an item has one for each text that is read of it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Makes the table anew; what was in it is encoded again when it is asked for."""
    op.drop_table("item_encodings")
    op.create_table(
        "item_encodings",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("user", sa.String(), primary_key=True),
        sa.Column("encoder", sa.String(), primary_key=True),
        sa.Column("text", sa.LargeBinary(), primary_key=True),
        sa.Column("item", sa.String(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
    )
    op.create_index("item_encodings_by_item", "item_encodings", ["tenant", "user", "item"])
