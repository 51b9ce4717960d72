#!/usr/bin/env bash
# Schemathesis against a real server: requests made from the OpenAPI document, right ones and wrong
# ones, and every answer held against the document. No request may make the server fail, get in
# without a good credential, or show one user another's rows.
#
#   scripts/fuzz.sh          at least 2,000 requests; about 90 seconds
#   scripts/fuzz.sh --long   at least 20,000 requests
#
# OPENINTERN names the executable (target/debug/openintern).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
openintern=$(realpath "${OPENINTERN:-target/debug/openintern}")

case "${1-}" in
"")
    wanted=2000
    bounds=(--max-examples 40 --max-time 60)
    seeds=(1 2)
    ;;
--long)
    wanted=20000
    bounds=(--max-examples 500 --max-time 600)
    seeds=($RANDOM $RANDOM)
    ;;
*)
    echo "usage: scripts/fuzz.sh [--long]" >&2
    exit 2
    ;;
esac

source scripts/own-server.sh
own_folder fuzz
.venv/bin/python scripts/fuzz_setup.py "$folder"
cd "$folder" # Schemathesis writes where it stands.
own_server "$openintern" --config "$folder/openintern.toml" --data-dir "$folder/data"

# Two processes at once: two threads of one trip over each other in Python 3.11's parser.
fuzz() {
    PYTHONPATH=$root/scripts "$root/.venv/bin/schemathesis" --no-color \
        --config-file "$folder/schemathesis.toml" \
        run "$url/openapi.json" "${bounds[@]}" --seed "$1" >"$folder/$1.out" 2>&1
}
answered=0
fuzz_both() {
    local fuzzers=() at seed
    for seed in "${seeds[@]}"; do
        fuzz "$seed" &
        fuzzers+=($!)
    done
    for at in "${!fuzzers[@]}"; do
        wait "${fuzzers[$at]}" && continue || answered=$?
        cat "$folder/${seeds[$at]}.out"
    done
}

# The server's own count: of all requests, of failures, and of panics.
count() { awk -v like="$1" '$0 ~ like {n += $NF} END {print n + 0}' "$folder/metrics"; }
requests=0
for _ in 1 2 3 4; do # A busy machine asks less in the same time.
    ((requests < wanted && answered == 0)) || break
    fuzz_both
    if ! curl --silent --show-error --fail --output "$folder/metrics" "$url/metrics"; then
        echo "error: the server does not answer any more" >&2
        tail -20 "$folder/log" >&2
        exit 1
    fi
    requests=$(count '^openintern_http_requests_total')
    seeds=($((seeds[0] + 2)) $((seeds[1] + 2)))
done
failures=$(count '^openintern_http_requests_total.*status="5')
panics=$(count '^openintern_panics_total')
echo "fuzz: $requests requests, $failures of 5xx, $panics panics"
if ((failures > 0 || panics > 0)); then
    grep -E 'ERROR|WARN' "$folder/log" | tail -20 >&2
    exit 1
fi
((answered == 0)) || exit "$answered"
((requests >= wanted)) || { echo "error: fewer than $wanted requests" >&2; exit 1; }
