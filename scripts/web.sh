#!/usr/bin/env bash
# The web UI, by npm: `build` leaves it in web/dist, where the executable finds it when it is compiled;
# `check` has formatting, lints and types, and that the types of the API are those of the server;
# `types` makes these anew; `dev` serves it with live reload, in front of a server on port 3000.
set -euo pipefail
cd "$(dirname "$0")/../web"

if ! command -v npm >/dev/null; then
    echo "! web         no npm: the executable has no web UI (hint: install Node 20.19 or newer)" >&2
    # The executable is all the same what was asked for.
    case "${1:-}" in
    build) exit 0 ;;
    dev) exec sleep infinity ;;
    *) exit 1 ;;
    esac
fi
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --no-audit --no-fund

# The OpenAPI document of the executable, as TypeScript, to the file.
api_types() {
    local document
    document=$(mktemp)
    "${OPENINTERN:-../target/debug/openintern}" openapi >"$document"
    npm run --silent api-types -- "$document" --output "$1" >/dev/null 2>&1
    rm "$document"
}

case "${1:-}" in
build) npm run --silent build ;;
check)
    npm run --silent lint
    npm run --silent typecheck
    npm run --silent build
    fresh=$(mktemp)
    api_types "$fresh"
    cmp --silent "$fresh" src/api/schema.d.ts || {
        echo "error: web/src/api/schema.d.ts is stale (hint: scripts/web.sh types)" >&2
        exit 1
    }
    rm "$fresh"
    ;;
types) api_types src/api/schema.d.ts ;;
dev) npm run dev ;;
*)
    echo "usage: scripts/web.sh build | check | types | dev" >&2
    exit 2
    ;;
esac
