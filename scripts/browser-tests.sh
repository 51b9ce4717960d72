#!/usr/bin/env bash
# Tests of the web page in a real Chromium: the one in $CHROMIUM or on the path, else the
# distribution's, which is installed where we may (root on Debian).
set -euo pipefail
cd "$(dirname "$0")/.."

find_chromium() {
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        if [ -n "$name" ] && command -v "$name"; then return; fi
    done
    return 1
}
if ! CHROMIUM=$(find_chromium); then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    fi
    CHROMIUM=$(find_chromium) || {
        echo "error: no Chromium was found (hint: install one, or name it in CHROMIUM)" >&2
        exit 1
    }
fi
export CHROMIUM

cd web
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent
OPENINTERN=${OPENINTERN:-$PWD/../target/debug/openintern} npm test --silent
