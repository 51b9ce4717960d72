#!/usr/bin/env bash
# Builds the web UI and tests it: its parts by themselves, then the whole in a real Chromium on
# target/debug/openintern (or OPENINTERN). The browser is the one in $CHROMIUM or on the path, else the
# distribution's, which is installed where we may (root on Debian), with a font that has Chinese.
# With FIGURES set it prints how long the page takes, instead; with PICTURES it makes docs/images.
set -euo pipefail
cd "$(dirname "$0")/.."

find_chromium() {
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        if [ -n "$name" ] && command -v "$name"; then return; fi
    done
    return 1
}
install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return; fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
has_chinese() { [ -n "$(fc-list :lang=zh-cn 2>/dev/null | head -n 1)" ]; }

if ! find_chromium >/dev/null || ! has_chinese; then install chromium fontconfig fonts-noto-cjk; fi
CHROMIUM=$(find_chromium) || {
    echo "error: no Chromium was found (hint: install one, or name it in CHROMIUM)" >&2
    exit 1
}
export CHROMIUM

OPENINTERN=$(realpath "${OPENINTERN:-target/debug/openintern}")
export OPENINTERN

scripts/web.sh check
cd web
[ -n "${FIGURES:-}${PICTURES:-}" ] || npm run --silent test
npm run --silent test:browser
