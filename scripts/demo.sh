#!/usr/bin/env bash
# The main job, for real: a runtime on a database of its own, four tasks, and the web page until
# Ctrl-C. Everything is in a temporary folder and goes with it.
set -euo pipefail
cd "$(dirname "$0")/.."
openintern=$PWD/target/release/openintern
made_by=$PPID

source scripts/own-server.sh
own_folder demo

# The model: what is configured, else a provider with a key, else a local Ollama, else the demo.
if [ -z "${OPENINTERN_MODEL:-}" ]; then
    ollama=$(curl -sf --max-time 1 "${OLLAMA_HOST:-http://127.0.0.1:11434}/api/tags" 2>/dev/null |
        sed -n 's/.*"models":\[{"name":"\([^"]*\)".*/\1/p' || true)
    if [ -n "${OPENAI_API_KEY:-}" ]; then
        OPENINTERN_MODEL=openai
    elif [ -n "${ANTHROPIC_API_KEY:-}" ]; then
        OPENINTERN_MODEL=anthropic
    elif [ -n "${GEMINI_API_KEY:-${GOOGLE_API_KEY:-}}" ]; then
        OPENINTERN_MODEL=gemini
    elif [ -n "$ollama" ]; then
        OPENINTERN_MODEL=ollama/$ollama
    else
        OPENINTERN_MODEL=demo/paced
    fi
    export OPENINTERN_MODEL
fi

workspace=$folder/workspaces/org-org_default/user-user_default/no-project
mkdir -p "$workspace"
cat >"$workspace/notes.md" <<'NOTES'
# 发布准备
- 文档已校对
- 压力测试通过：每秒 800 个 run
- 待办：发布会的签到表
NOTES

"$openintern" embedder install --from "$PWD/.cache/embedder" --data-dir "$folder" >/dev/null

own_server "$openintern" --data-dir "$folder"
AGENT_API_URL=$url
export AGENT_API_URL
grep '^[✓!]' "$folder/log" || true

task() {
    printf '\n── %s\n   openintern run "%s" --session %s --stream\n\n' "$1" "$3" "$2"
    "$openintern" run "$3" --session "$2" --stream 2>/dev/null
}
task '1. A fact is told / 告诉它一件事' monday '请记住：发布会定在 12 月 5 日，负责人是李雷。'
task '2. Another session finds it / 换一个会话再问' tuesday '发布会的负责人是谁？'
task '3. A file of the workspace is read / 读一个文件' tuesday '读一下 notes.md 文件'
if grep -q '^✓ mcp' "$folder/log"; then
    task '4. A Python skill is called over MCP / 调用 Python 技能' tuesday \
        '用 textkit__text_stats 统计 "OpenIntern 是一个多租户的 agent runtime。"'
fi

printf '\n── Runs so far / 到目前为止的 run\n\n'
"$openintern" runs list
cat <<END

  web UI     $AGENT_API_URL/sessions/s_tuesday
  API        $AGENT_API_URL/docs
  try it     AGENT_API_URL=$AGENT_API_URL target/release/openintern run "你好" --stream

Press Ctrl-C to stop; nothing stays running. / 按 Ctrl-C 结束，不留下任何进程。
END
while kill -0 "$server" 2>/dev/null && kill -0 "$made_by" 2>/dev/null; do sleep 1; done
