#!/bin/sh
# Brings both of Temporal's databases, which `campanile provision` made, to the schema of this version of its server.
# SQL_PLUGIN, SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD say where. It may be run again.
set -eu

bring() { # a database, and which schema is its own
  temporal-sql-tool --db "$1" setup-schema -v 0.0
  temporal-sql-tool --db "$1" update-schema --schema-name "postgresql/v12/$2"
}

bring temporal temporal
bring temporal_visibility visibility
