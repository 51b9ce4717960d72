// A page of another site in the same browser, whose own defences are switched off: by its own name, as
// another server on this machine, and by a name that was made to point to the server (DNS rebinding).
// It tries every route of the OpenAPI document in every way that a page has. It reads nothing and
// changes nothing, where nobody needs a key as where the browser is logged in.

import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { Server } from "./server";

const ORG = "org_default";
const USER = "user_neighbour";
/** Stands in every row, so in every answer that says something of one. */
const SECRET = "the-secret-plan";
/** A connection that is let in would stay open. */
const PATIENCE_MS = 3_000;
/** Fewer than the connections that a browser has for a server, so that none waits for another. */
const AT_ONCE = 3;

type Asked = { method: string; path: string };
type Reach = { name: string; origin: () => string };

let elsewhere: HttpServer;
let browser: Browser;
let server: Server;
let key = "";

const port = (address: string) => new URL(address).port;
const named = (name: string) => `http://${name}:${port(server.address)}`;
const elsewherePort = () => (elsewhere.address() as AddressInfo).port;

beforeAll(async () => {
  // The other site: its page is empty, what it does is told it by the test.
  elsewhere = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>elsewhere</title>");
  });
  await new Promise<void>((listening) => elsewhere.listen(0, "127.0.0.1", listening));
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--host-resolver-rules=MAP evil.example 127.0.0.1",
      "--disable-web-security",
      "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights,PrivateNetworkAccessRespectPreflightResults",
    ],
  });
});

afterAll(async () => {
  await browser?.close();
  elsewhere?.close();
});

async function ask(method: string, path: string, body?: object) {
  const response = await fetch(server.address + path, {
    method,
    headers: {
      "x-org-id": ORG,
      "x-user-id": USER,
      ...(key && { authorization: `Bearer ${key}` }),
      ...(body && { "content-type": "application/json" }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  expect(response.ok, `${method} ${path}: ${JSON.stringify(answer)}`).toBe(true);
  return answer;
}

/** Every operation of the document, on rows that are there. */
async function everyRequest(): Promise<Asked[]> {
  const run = await ask("POST", "/api/runs", { input: `gate ${SECRET}`, session_key: SECRET });
  const memory = await ask("POST", "/api/memories", { type: "core", text: SECRET });
  const made = await ask("POST", "/api/keys", { name: SECRET, rights: ["runs:read"] });
  const span = await vi.waitUntil(
    async () => (await ask("GET", `/api/runs/${run.run_id}/trace`)).spans[0],
    { timeout: 60_000 },
  );
  const rows: Record<string, string> = {
    run_id: run.run_id,
    span_id: span.span_id,
    step: "1",
    id: memory.id,
    key_id: made.key_id,
    session_key: SECRET,
  };
  const document = await ask("GET", "/openapi.json");
  return Object.entries(document.paths as Record<string, object>).flatMap(([path, item]) =>
    Object.keys(item).map((method) => ({
      method: method.toUpperCase(),
      path: path.replace(/{(\w+)}/g, (_, name: string) => {
        expect(rows, `a row for ${path}`).toHaveProperty(name);
        return rows[name]!;
      }),
    })),
  );
}

/** Waits until the run has asked its model, once for each start of the server: then it writes no more. */
async function standsAtItsGate(requests: Asked[], starts: number) {
  const events = requests.find(({ path }) => /^\/api\/runs\/[^/]+\/events$/.test(path))!;
  await vi.waitUntil(
    async () => {
      const page = await ask("GET", events.path);
      const recalled = page.events.filter(
        (event: { type: string }) => event.type === "memory.recalled",
      );
      return recalled.length === starts;
    },
    { timeout: 60_000 },
  );
}

/** All that is kept for the user and the organisation, but for the clock's part in it. */
async function everything() {
  const lists = ["/api/runs", "/api/memories", "/api/keys", "/api/audit", "/api/sessions"];
  const texts = await Promise.all(lists.map((path) => ask("GET", `${path}?limit=100`)));
  return JSON.stringify(texts).replaceAll(/"last_used_at":("[^"]*"|null)/g, "");
}

/** A page at the origin, without a policy of ours in its way. */
async function pageAt(context: BrowserContext, origin: string): Promise<Page> {
  const page = await context.newPage();
  await page.route(`${origin}/attack`, (route) =>
    route.fulfill({ contentType: "text/html", body: "<!doctype html><title>attack</title>" }),
  );
  await page.goto(`${origin}/attack`);
  return page;
}

/** Asks each request in each way that a page has; what came back that holds the secret. */
function attack(page: Page, requests: Asked[], target: string): Promise<string[]> {
  return page.evaluate(
    async ({ requests, target, query, secret, patience, atOnce }) => {
      const read: string[] = [];
      const look = (way: string, text: string | null | undefined) => {
        if (text?.includes(secret)) read.push(`${way}: ${text.slice(0, 200)}`);
      };
      const soon = <T>(what: Promise<T>) =>
        Promise.race([what, new Promise<null>((late) => setTimeout(late, patience, null))]);

      const byFetch = async ({ method, path }: Asked) => {
        const bodies = method === "GET" ? [undefined] : ['{"input":"evil","text":"evil"}'];
        for (const mode of ["cors", "no-cors"] as const) {
          for (const type of ["text/plain", "application/json"]) {
            for (const body of bodies) {
              const stop = new AbortController();
              const timer = setTimeout(() => stop.abort(), patience);
              const headers = { "content-type": type };
              const options = { method, mode, headers, signal: stop.signal };
              await fetch(`${target}${path}?${query}`, {
                ...options,
                credentials: "include",
                ...(body !== undefined && { body }),
              })
                .then(async (response) => look(`${method} ${path} ${mode}`, await response.text()))
                .catch(() => {}); // Refused by the browser: just as well.
              clearTimeout(timer);
            }
          }
        }
      };
      const byFrame = async ({ method, path }: Asked, enctype: string) => {
        const frame = document.createElement("iframe");
        frame.name = `frame_${Math.random()}`;
        const url = `${target}${path}?${query}`;
        const loaded = new Promise((done) => frame.addEventListener("load", done));
        if (method === "GET") frame.src = url;
        document.body.append(frame);
        if (method !== "GET") {
          await loaded;
          const form = document.createElement("form");
          Object.assign(form, { method: "post", action: url, target: frame.name, enctype });
          const field = document.createElement("input");
          Object.assign(field, { name: '{"input":"evil","a":"', value: '"}' });
          form.append(field);
          document.body.append(form);
          const answered = new Promise((done) => frame.addEventListener("load", done));
          form.submit();
          await soon(answered);
          form.remove();
        } else {
          await soon(loaded);
        }
        try {
          // With the defences off one page may look into another.
          look(`frame ${method} ${path}`, frame.contentDocument?.documentElement.textContent);
        } catch {
          // The browser did not let us after all.
        }
        frame.remove();
      };
      const byEvents = ({ path }: Asked) =>
        soon(
          new Promise<void>((done) => {
            const source = new EventSource(`${target}${path}?${query}`, { withCredentials: true });
            source.onopen = () => {
              read.push(`events ${path} were opened`);
              source.close();
              done();
            };
            source.onerror = () => {
              source.close();
              done();
            };
          }),
        );
      const bySocket = ({ path }: Asked) =>
        soon(
          new Promise<void>((done) => {
            const socket = new WebSocket(`${target.replace("http", "ws")}${path}?${query}`);
            socket.onopen = () => {
              read.push(`socket ${path} was opened`);
              done();
            };
            socket.onerror = () => done();
          }),
        );
      const byBeacon = ({ path }: Asked) => {
        const body = new Blob(['{"input":"evil"}'], { type: "text/plain" });
        navigator.sendBeacon(`${target}${path}?${query}`, body);
      };
      const byTag = ({ path }: Asked) =>
        soon(
          new Promise<void>((done) => {
            const script = document.createElement("script");
            script.src = `${target}${path}?${query}`;
            script.onload = script.onerror = () => done();
            document.head.append(script);
          }),
        );

      const byAll = async (request: Asked) => {
        const reads = request.method === "GET";
        await Promise.all([
          byFetch(request),
          ...(reads
            ? [byFrame(request, ""), byEvents(request), byTag(request)]
            : [byFrame(request, "text/plain"), byFrame(request, "multipart/form-data")]),
          // Browsers wait longer and longer between sockets that fail.
          ...(request.path.endsWith("/stream") ? [bySocket(request)] : []),
        ]);
        if (!reads) byBeacon(request);
      };
      const left = [...requests];
      const goOn = async () => {
        for (let next = left.shift(); next; next = left.shift()) await byAll(next);
      };
      await Promise.all(Array.from({ length: atOnce }, goOn));
      return read;
    },
    {
      requests,
      target,
      query: `org_id=${ORG}&user_id=${USER}`,
      secret: SECRET,
      patience: PATIENCE_MS,
      atOnce: AT_ONCE,
    },
  );
}

const REACHES: Reach[] = [
  { name: "another site", origin: () => `http://evil.example:${elsewherePort()}` },
  { name: "another server on this machine", origin: () => `http://127.0.0.1:${elsewherePort()}` },
  { name: "a name that was made to point to the server", origin: () => named("evil.example") },
];

describe.each(["none", "keys"])("with auth = %s", (auth) => {
  let requests: Asked[] = [];
  let context: BrowserContext;

  beforeAll(async () => {
    server = await Server.start(inject("model"));
    key = (await ask("POST", "/api/keys", { name: "admin", rights: ["admin"] })).key;
    requests = await everyRequest();
    if (auth === "keys") {
      await server.stop();
      await server.resume({ OPENINTERN__SERVER__AUTH: "keys" });
    }
    await standsAtItsGate(requests, auth === "keys" ? 2 : 1);
    context = await browser.newContext();
    for (const host of ["127.0.0.1", "localhost"]) {
      const page = await context.newPage();
      await page.goto(named(host));
      expect(await statusOf(page, "POST", "/api/login", { key })).toBe(204);
    }
    expect(await context.cookies()).toHaveLength(auth === "keys" ? 2 : 0);
  });

  afterAll(async () => {
    await context?.close();
    await server?.remove();
    key = "";
  });

  /** What our own page is answered. */
  function statusOf(page: Page, method: string, path: string, body?: object) {
    return page.evaluate(
      async ({ method, path, body, headers }) => {
        const response = await fetch(path, {
          method,
          headers: { ...headers, "content-type": "application/json" },
          ...(body && { body: JSON.stringify(body) }),
        });
        return response.status;
      },
      { method, path, body, headers: { "x-org-id": ORG, "x-user-id": USER } },
    );
  }

  test.each(REACHES)("$name reads nothing and changes nothing", async ({ origin }) => {
    const before = await everything();
    const page = await pageAt(context, origin());
    const read = ["127.0.0.1", "localhost", "evil.example"].map((host) =>
      attack(page, requests, named(host)),
    );
    expect((await Promise.all(read)).flat()).toEqual([]);
    expect(await everything()).toBe(before);
  });

  test("our own page is still let in", async () => {
    const page = await context.newPage();
    await page.goto(named("localhost"));
    expect(await statusOf(page, "GET", "/api/runs")).toBe(200);
    expect(await statusOf(page, "POST", "/api/memories", { type: "core", text: "ours" })).toBe(201);
  });

  test("the same attack by our own page would read: it is one", async () => {
    const page = await pageAt(context, named("localhost"));
    const runs = requests.filter(({ method, path }) => method === "GET" && path === "/api/runs");
    expect(await attack(page, runs, named("localhost"))).not.toEqual([]);
  });

  test("no page frames ours", async () => {
    const page = await pageAt(context, `http://127.0.0.1:${elsewherePort()}`);
    for (const path of ["/", "/keys", "/docs/", "/api/runs", "/nowhere"]) {
      const response = await context.request.get(named("localhost") + path);
      const policy = response.headers()["content-security-policy"] ?? "";
      expect(policy, path).toContain("frame-ancestors 'none'");
      await page.setContent(`<iframe src="${named("127.0.0.1")}${path}"></iframe>`);
      const frame = page.frames()[1]!;
      await frame.waitForLoadState().catch(() => {});
      expect(frame.url(), path).toMatch(/^chrome-error:|^about:blank/);
    }
  });
});
