// The tab's side of the hub: follow a run, and know how the connection stands.

import { scope } from "~/api/scope";
import { type Frame, type Link, type ToHub, type ToTab, topicName } from "./frames";

export type Watcher = { onFrames(frames: Frame[]): void; onLink(link: Link): void };

let channel: MessagePort | null = null;
let nextFollower = 1;
const watchers = new Map<number, { topic: string; watcher: Watcher }>();
const links = new Map<number, { topic: string; link: Link }>();
const linkListeners = new Set<() => void>();

/** Follows a run after the event `cursor`, or with null what the scope's runs do, until the returned function is called. */
export function follow(runId: string | null, cursor: number, watcher: Watcher): () => void {
  const follower = nextFollower++;
  const topic = { scope: scope(), runId };
  watchers.set(follower, { topic: topicName(topic), watcher });
  say({ type: "follow", follower, topic, cursor });
  return () => {
    watchers.delete(follower);
    links.delete(follower);
    changed();
    say({ type: "leave", follower });
  };
}

/** Connects again now, where that is being waited for. */
export function retryNow(): void {
  say({ type: "retry" });
}

/** The links of this tab, one for all that follow the same, for the banner. The array is the same as long as nothing changes. */
export function currentLinks(): Link[] {
  return snapshot;
}

export function onLinks(listener: () => void): () => void {
  linkListeners.add(listener);
  return () => linkListeners.delete(listener);
}

let snapshot: Link[] = [];

function changed(): void {
  snapshot = [...new Map([...links.values()].map(({ topic, link }) => [topic, link])).values()];
  for (const listener of linkListeners) listener();
}

function say(message: ToHub): void {
  channel ??= connect();
  channel.postMessage(message);
}

function connect(): MessagePort {
  const port = portToHub();
  port.onmessage = ({ data }: MessageEvent<ToTab>) => {
    const followed = watchers.get(data.follower);
    if (!followed) return;
    const { topic, watcher } = followed;
    if (data.type === "frames") return watcher.onFrames(data.frames);
    links.set(data.follower, { topic, link: data.link });
    changed();
    watcher.onLink(data.link);
  };
  const send = (message: ToHub) => port.postMessage(message);
  holdLock((lock) => send({ type: "hello", lock }));
  document.addEventListener("visibilitychange", () => {
    send({ type: "visible", visible: document.visibilityState === "visible" });
    if (document.visibilityState === "visible") send({ type: "retry" });
  });
  addEventListener("online", () => send({ type: "retry" }));
  addEventListener("pagehide", (event) => {
    if (!event.persisted) send({ type: "bye" });
  });
  return port;
}

/** The hub of all tabs; one of our own where the browser shares no workers. */
function portToHub(): MessagePort {
  if (typeof SharedWorker === "function") {
    const worker = new SharedWorker(new URL("./hub.worker.ts", import.meta.url), {
      type: "module",
      name: "openintern-hub",
    });
    worker.port.start();
    return worker.port;
  }
  const { port1, port2 } = new MessageChannel();
  void import("./hub").then(({ Hub }) => {
    new Hub().join(port2);
    port2.start();
  });
  return port1;
}

/** Holds a lock that ends with this tab, however it ends. There are none on pages over plain HTTP. */
function holdLock(onHeld: (lock: string) => void): void {
  if (!navigator.locks) return;
  const name = `openintern-tab-${crypto.randomUUID()}`;
  void navigator.locks.request(name, () => {
    onHeld(name);
    return new Promise(() => {});
  });
}
