#!/bin/sh
# Starts PostgreSQL as the image `postgres` does, as far as the manifests rely on it: an empty folder becomes a database, and the
# scripts run while the server listens on its socket only.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  # Its options are words.
  # shellcheck disable=SC2086
  initdb --pgdata "$PGDATA" --username postgres --pwfile /tmp/password --encoding UTF8 --locale C ${POSTGRES_INITDB_ARGS-}
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  pg_ctl --pgdata "$PGDATA" -o "-c listen_addresses=''" -w start
  export PGUSER=postgres
  psql --dbname postgres --command "CREATE DATABASE $POSTGRES_DB"
  for script in /docker-entrypoint-initdb.d/*.sh; do
    # One that may not be executed is read, as that image does.
    # shellcheck disable=SC1090
    if [ -x "$script" ]; then "$script"; else . "$script"; fi
  done
  pg_ctl --pgdata "$PGDATA" -m fast -w stop
fi
exec postgres -D "$PGDATA" -c "listen_addresses=*" "$@"
