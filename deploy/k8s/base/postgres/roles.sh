#!/bin/sh
# Roles and schemas. It runs once, when the database is empty; for a managed PostgreSQL run the same by hand (set the
# variables, and the usual PGHOST, PGUSER and PGPASSWORD). Tables are made, and rights on them granted, by the job
# `provision`.
set -eu

sql() {
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname "${POSTGRES_DB:-pangaea}" "$@"
}

# Owns every schema and table. No module has its password.
sql --set password="$PROVISIONER_PASSWORD" --set database="${POSTGRES_DB:-pangaea}" <<'SQL'
CREATE ROLE provisioner LOGIN PASSWORD :'password' CONNECTION LIMIT 20;
-- A role reaches what it has been granted, and nothing because it is there.
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT, CREATE ON DATABASE :"database" TO provisioner;
SQL

module() {
  sql --set module="$1" --set password="$2" --set database="${POSTGRES_DB:-pangaea}" <<'SQL'
CREATE ROLE :"module" LOGIN PASSWORD :'password';
GRANT CONNECT ON DATABASE :"database" TO :"module";
CREATE SCHEMA :"module" AUTHORIZATION provisioner;
GRANT USAGE ON SCHEMA :"module" TO :"module";
ALTER ROLE :"module" SET search_path TO :"module";
SQL
}

module product "$PRODUCT_PASSWORD"
module order "$ORDER_PASSWORD"
module payment "$PAYMENT_PASSWORD"
module user "$USER_PASSWORD"
