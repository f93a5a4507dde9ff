#!/bin/sh
# The gate after a module was promoted: what its leader says of itself. Whoever stands by knows nothing of the log's work, and
# who has led keeps its last figures.
#
#     sh deploy/gate.sh product
#
# Exit code 1 when nobody leads, something waits for longer than LAG_S seconds (10), or there is a dead letter or a parked key.
set -eu
module=${1:?which module? such as: sh deploy/gate.sh product}
port=${PORT:-19090}
leaders=0
for pod in $(kubectl -n pangaea get pods -l "app.kubernetes.io/name=$module" -o name); do
  kubectl -n pangaea port-forward "$pod" "$port:9090" > /dev/null &
  forward=$!
  trap 'kill $forward 2> /dev/null || true' EXIT
  metrics=$(curl -sf --retry 30 --retry-delay 1 --retry-connrefused --max-time 60 "http://localhost:$port/metrics")
  # Where it has ended by itself, somebody else has that port and has answered.
  kill $forward 2> /dev/null || { echo "no: port $port is taken: set PORT to a free one" >&2; exit 1; }
  wait $forward 2> /dev/null || true
  echo "$metrics" | grep -q '^pangaea_leader.* 1$' || continue
  leaders=$((leaders + 1))
  echo "$pod leads $module"
  echo "$metrics" | awk -v lag_s="${LAG_S:-10}" '
    /^pangaea_(reader_lag_seconds|relay_lag_seconds|dead_letters|parked_keys)[{ ]/ {
      max = $1 ~ /_seconds/ ? lag_s : 0
      print ($NF > max ? "no: " : "ok: ") $0
      if ($NF > max) refused = 1
      seen++
    }
    END { if (!seen) print "no: it has none of the figures"; exit refused || !seen }'
done
[ "$leaders" -eq 1 ] || { echo "no: $leaders replicas lead $module" >&2; exit 1; }
