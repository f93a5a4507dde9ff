#!/bin/sh
# Writes each NATS seed into the volume that only its owner mounts. Run by compose.yaml before anything else of `apart`.
set -eu

# The user of the store's image.
owner=65532

seed() {
  if [ -z "$2" ]; then
    echo "there are no credentials: docker run --rm pangaea:local secrets --format compose > deploy/.secrets.env," \
      "then give docker compose --env-file deploy/.secrets.env" >&2
    exit 1
  fi
  printf '%s\n' "$2" > "/seeds/$1/seed"
  chown "$owner:$owner" "/seeds/$1/seed"
  chmod 0400 "/seeds/$1/seed"
}

seed product "$SEED_PRODUCT"
seed order "$SEED_ORDER"
seed payment "$SEED_PAYMENT"
seed user "$SEED_USER"
seed provisioner "$SEED_PROVISIONER"
# The server does not run as root, and a fresh volume belongs to it.
chown 1000:1000 /nats
