"""What a flow's members cost: no key to their version, and no statistics of what nobody compares."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_KEY = "fk_enrollments_workspace_id_version_id"
# Long JSON: to sort a sample of it takes ANALYZE as long as all other columns, and no condition is about it.
_UNCOMPARED = (("enrollments", "history"), ("enrollments", "properties"), ("messages", "holes"))


def upgrade() -> None:
    op.drop_constraint(_KEY, "enrollments")
    for table, column in _UNCOMPARED:
        op.execute(f"alter table {table} alter column {column} set statistics 0")


def downgrade() -> None:
    for table, column in _UNCOMPARED:
        op.execute(f"alter table {table} alter column {column} set statistics default")
    op.create_foreign_key(
        _KEY, "enrollments", "flow_versions", ["workspace_id", "version_id"], ["workspace_id", "id"]
    )
