// The first page: ask, watch the answer come, read the conversation again. One session, named in
// the address. A run that goes on is drawn from its events, one that has ended from its row.

const USER = "user_default";
const ENDED = ["run.completed", "run.failed", "run.cancelled"];

const WORDS = navigator.language.startsWith("zh")
  ? {
      lang: "zh-CN", ask: "想让我做什么？", send: "发送", stop: "停止", fresh: "新对话",
      hint: "回车发送，Shift + 回车换行。", waiting: "正在思考…", failed: "失败：", cancelled: "已取消。",
      lost: "连接中断，正在重连…", refused: "无法接收结果，请刷新页面。",
      recalled: (n) => `想起 ${n} 条记忆`,
      key: "请输入 API 密钥", wrongKey: "密钥无效，请重新输入", open: "进入",
    }
  : {
      lang: "en", ask: "What shall I do?", send: "Send", stop: "Stop", fresh: "New session",
      hint: "Enter sends, Shift + Enter starts a new line.", waiting: "Thinking…",
      failed: "Failed: ", cancelled: "Cancelled.",
      lost: "The connection was lost; trying again…",
      refused: "The answer cannot be followed; reload the page to try again.",
      key: "Your API key", wrongKey: "That key is no good; try another", open: "Open",
      recalled: (n) => (n === 1 ? "1 memory recalled" : `${n} memories recalled`),
    };

const page = Object.fromEntries(
  ["runs", "ask", "label", "input", "send", "fresh", "door", "ticket", "key", "open"].map((id) => [id, document.getElementById(id)]),
);
let session; // named in the address, or that of the run in the address
let current = null; // the run that is being worked on
let scope = { org_id: "org_default", user_id: USER }; // what we say; a key says the rest
let opening = null; // the one question for a key

document.documentElement.lang = WORDS.lang;
page.label.textContent = page.input.placeholder = WORDS.ask;
page.fresh.textContent = WORDS.fresh;
showBusy(null);
sessionOfAddress().then((key) => {
  session = key;
  showEarlierRuns();
});

page.ask.addEventListener("submit", (event) => {
  event.preventDefault();
  if (current) cancel(current);
  else send();
});
page.input.addEventListener("keydown", (event) => {
  // While an input method composes, Enter chooses a word (229: Safari says it only so).
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  if (!current) send();
});

async function sessionOfAddress() {
  const address = new URL(location.href);
  const run = address.pathname.match(/^\/runs\/(run_[0-9a-z]{26})$/);
  if (run) {
    const found = await api("GET", `/api/runs/${run[1]}`).catch(() => null);
    address.pathname = "/";
    if (found) address.searchParams.set("session", found.session_key);
    history.replaceState(null, "", address);
  }
  const named = address.searchParams.get("session");
  if (named && /^[A-Za-z0-9_.:-]{1,128}$/.test(named)) return named;
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const fresh = "s_" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  address.searchParams.set("session", fresh);
  history.replaceState(null, "", address);
  return fresh;
}

// Where the server asks for a key, so do we. What the key says of the scope we then leave out; a key
// for any user acts for the one that the page acts for without keys.
async function api(method, path, body) {
  for (;;) {
    const response = await request(method, path, body);
    const answer = await response.json();
    if (response.ok) return answer;
    const { code, message } = answer.error;
    if (code === "unauthorized") await (opening ??= open().finally(() => (opening = null)));
    else if (code === "scope_mismatch" && scope.org_id) scope = {};
    else if (code === "scope_required" && !scope.user_id) scope = { user_id: USER };
    else throw new Error(message);
  }
}

function request(method, path, body) {
  const headers = body ? { "content-type": "application/json" } : {};
  for (const [name, value] of Object.entries(scope)) headers["x-" + name.replace("_", "-")] = value;
  return fetch(path, { method, headers, body: body && JSON.stringify(body) });
}

// Asks for a key until one is good. The server keeps it in a cookie that no script can read.
async function open() {
  scope = {};
  page.ticket.textContent = WORDS.key;
  page.open.textContent = WORDS.open;
  for (;;) {
    page.door.showModal();
    await new Promise((closed) => page.door.addEventListener("close", closed, { once: true }));
    const key = page.key.value.trim();
    page.key.value = "";
    if (key && (await request("POST", "/api/login", { key })).ok) return;
    page.ticket.textContent = WORDS.wrongKey;
  }
}

async function showEarlierRuns() {
  try {
    const { runs } = await api("GET", `/api/sessions/${encodeURIComponent(session)}/runs?limit=50`);
    if (runs.length === 0) element(page.runs, "p", "hint", WORDS.hint);
    for (const listed of runs.reverse()) {
      const run = await whole(listed);
      showEarlierRun(run, showRun(run.input));
    }
  } catch (error) {
    showState(showRun(""), error.message, true);
  }
}

// A list has only the beginnings of long texts.
async function whole(run) {
  const isCut = (text, bytes) => new TextEncoder().encode(text ?? "").length < (bytes ?? 0);
  const cut = isCut(run.input, run.input_bytes) || isCut(run.output, run.output_bytes);
  return cut ? api("GET", `/api/runs/${run.run_id}`) : run;
}

function showEarlierRun(run, view) {
  if (run.status === "completed") EVENTS["run.completed"](view, run);
  else if (run.status === "failed") EVENTS["run.failed"](view, run);
  else if (run.status === "cancelled") EVENTS["run.cancelled"](view);
  else follow(run.run_id, view);
}

async function send() {
  const input = page.input.value;
  if (!input.trim()) return;
  const view = showRun(input);
  page.input.value = "";
  showBusy({});
  try {
    const { run_id } = await api("POST", "/api/runs", { input, session_key: session });
    follow(run_id, view);
  } catch (error) {
    showState(view, error.message, true);
    page.input.value ||= input;
    showBusy(null);
  }
}

async function cancel(run) {
  if (!run.id) return;
  page.send.disabled = true;
  // A run that has just ended cannot be cancelled: its last event says so, too.
  await api("POST", `/api/runs/${run.id}/cancel`).catch(() => {});
}

// A run's place on the page: what was asked, then its steps as they come.
function showRun(input) {
  page.runs.querySelector(".hint")?.remove();
  const article = element(page.runs, "article", "");
  if (input) element(article, "p", "asked", input);
  const steps = element(article, "div", "");
  const state = element(article, "p", "state", WORDS.waiting);
  article.scrollIntoView({ block: "end" });
  return { article, steps, state, texts: new Map(), chips: new Map() };
}

function follow(id, view) {
  const run = { id };
  showBusy(run);
  const query = new URLSearchParams(scope);
  const source = new EventSource(`/api/runs/${id}/stream?${query}`);
  source.onopen = () => showState(view, WORDS.waiting);
  // The browser reconnects by itself and says what it has seen; only a refusal is final.
  source.onerror = () => {
    const final = source.readyState === EventSource.CLOSED;
    showState(view, final ? WORDS.refused : WORDS.lost, final);
    if (final) showIdle(run);
  };
  source.addEventListener("llm.delta", (frame) => {
    const delta = JSON.parse(frame.data);
    textOf(view, delta.step_id).append(delta.text);
    keepInView();
  });
  source.addEventListener("llm.reset", (frame) => {
    textOf(view, JSON.parse(frame.data).step_id).textContent = "";
  });
  for (const [type, show] of Object.entries(EVENTS)) {
    source.addEventListener(type, (frame) => {
      const event = JSON.parse(frame.data);
      show(view, event.payload, event.step_id);
      if (ENDED.includes(type)) {
        source.close();
        showIdle(run);
      }
      keepInView();
    });
  }
}

const EVENTS = {
  "memory.recalled": (view, { hits }) => {
    if (hits.length > 0) element(view.steps, "span", "chip done", WORDS.recalled(hits.length));
  },
  "llm.called": (view, { content }, step) => {
    if (content || view.texts.has(step)) textOf(view, step).textContent = content;
  },
  "tool.called": (view, { tool_call_id, tool, args }) => {
    const chip = element(view.steps, "span", "chip", tool);
    chip.title = JSON.stringify(args, null, 2);
    view.chips.set(tool_call_id, chip);
  },
  "tool.result": (view, { tool_call_id, is_error }) => {
    view.chips.get(tool_call_id)?.classList.add(is_error ? "bad" : "done");
  },
  "run.warning": (view, { message }) => element(view.steps, "p", "state", message),
  "run.completed": (view, { output }) => {
    const last = [...view.texts.values()].pop();
    if (last?.textContent !== output) element(view.steps, "p", "", output);
    view.state.remove();
  },
  "run.failed": (view, { error }) => showState(view, WORDS.failed + error.message, true),
  "run.cancelled": (view) => showState(view, WORDS.cancelled),
};

function textOf(view, step) {
  if (!view.texts.has(step)) view.texts.set(step, element(view.steps, "p", ""));
  return view.texts.get(step);
}

function showState(view, text, bad = false) {
  view.state.textContent = text;
  view.state.classList.toggle("bad", bad);
}

function showIdle(run) {
  if (current === run) showBusy(null);
}

function showBusy(run) {
  current = run;
  page.send.disabled = false;
  page.send.textContent = run ? WORDS.stop : WORDS.send;
}

function keepInView() {
  const below = document.documentElement.scrollHeight - innerHeight - scrollY;
  if (below < 160) scrollTo(0, document.documentElement.scrollHeight);
}

function element(parent, name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  parent.append(made);
  return made;
}
