# Sourced: a runtime in a temporary folder, which goes with the script, however that ends.
#
#   own_folder NAME              makes $folder
#   own_server EXECUTABLE ARG…   starts `dev` in it; $server is the process, $url where it listens,
#                                $folder/log what it says
server=

own_folder() {
    folder=$(mktemp -d "${TMPDIR:-/tmp}/openintern-$1-XXXXXX")
    chmod 755 "$folder" # The database runs as another user when we are root.
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

finish() {
    trap - EXIT INT TERM HUP
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}

own_server() {
    set -m # In a process group of its own: Ctrl-C reaches it once, through us.
    "$1" dev --port 0 "${@:2}" >"$folder/address" 2>"$folder/log" &
    server=$!
    set +m
    until grep -q '^listening on' "$folder/address"; do
        kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
        sleep 0.05
    done
    url=$(sed -n 's/^listening on //p' "$folder/address")
}
