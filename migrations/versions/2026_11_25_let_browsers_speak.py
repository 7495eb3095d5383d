"""let browsers speak: the metric that whoever holds a reply's feedback token may say."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agents", sa.Column("browser_metric", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("agents", "browser_metric")
