// The connections of all tabs of a browser, in one place: a run is followed once however many tabs show
// it, and the runs of a scope come over one connection.

import { scopeName } from "~/api/scope";
import { Feed, type Listener } from "./feed";
import { Follower } from "./follower";
import { type ToHub, type ToTab, topicName } from "./frames";

/** Of six connections to one server (HTTP/1.1, all tabs together), two are left for everything else. */
const STREAMS_MAX = 4;
/** The server takes no more in one stream. */
const RUNS_MAX = 64;
/** What nobody has looked at for so long is let go, until somebody does. */
const UNSEEN_MAX_MS = 5 * 60_000;
/** Changes that come this close together make one new connection. */
const TOGETHER_MS = 10;

/** The end of a channel to a tab, as far as it is used. */
export type Port = {
  postMessage(message: ToTab): void;
  onmessage: ((event: MessageEvent<ToHub>) => void) | null;
};

type Tab = {
  port: Port;
  visible: boolean;
  seenAt: number;
  followers: Map<number, { feed: Feed; listener: Listener }>;
};

export class Hub {
  private readonly tabs = new Set<Tab>();
  private readonly feeds = new Map<string, Feed>();
  private readonly followers = new Map<string, Follower>();
  private isArranging = false;

  constructor() {
    setInterval(() => this.arrange(), UNSEEN_MAX_MS / 10);
  }

  join(port: Port): void {
    const tab: Tab = { port, visible: true, seenAt: Date.now(), followers: new Map() };
    this.tabs.add(tab);
    port.onmessage = ({ data }) => this.hear(tab, data);
  }

  private hear(tab: Tab, said: ToHub): void {
    switch (said.type) {
      case "hello":
        // The tab holds the lock for as long as it lives, however it ends.
        void navigator.locks.request(said.lock, () => this.drop(tab));
        break;
      case "follow":
        this.follow(tab, said);
        break;
      case "leave":
        this.leave(tab, said.follower);
        this.arrangeSoon();
        break;
      case "retry":
        for (const follower of this.followers.values()) follower.retry();
        break;
      case "visible":
        tab.visible = said.visible;
        tab.seenAt = Date.now();
        this.arrangeSoon();
        break;
      case "bye":
        this.drop(tab);
        break;
    }
  }

  private follow(tab: Tab, { follower, topic, cursor }: Extract<ToHub, { type: "follow" }>): void {
    const name = topicName(topic);
    const feed = this.feeds.get(name) ?? new Feed(topic, cursor);
    this.feeds.set(name, feed);
    const listener: Listener = {
      onFrames: (frames) => tab.port.postMessage({ type: "frames", follower, frames }),
      onLink: (link) => tab.port.postMessage({ type: "link", follower, link }),
    };
    tab.followers.set(follower, { feed, listener });
    tab.seenAt = Date.now();
    feed.add(listener, cursor);
    this.arrangeSoon();
  }

  private leave(tab: Tab, follower: number): void {
    const followed = tab.followers.get(follower);
    tab.followers.delete(follower);
    followed?.feed.remove(followed.listener);
  }

  private drop(tab: Tab): void {
    for (const follower of [...tab.followers.keys()]) this.leave(tab, follower);
    this.tabs.delete(tab);
    this.arrangeSoon();
  }

  private arrangeSoon(): void {
    if (this.isArranging) return;
    this.isArranging = true;
    setTimeout(() => {
      this.isArranging = false;
      this.arrange();
    }, TOGETHER_MS);
  }

  /** Gives connections to what was looked at last, and lets go of what nobody follows or sees. */
  private arrange(): void {
    for (const [name, feed] of this.feeds) {
      if (feed.isIdle) this.feeds.delete(name);
    }
    const groups = this.groups();
    for (const [name, follower] of this.followers) {
      const group = groups.get(name);
      if (group && follower.serves(group)) groups.delete(name);
      else {
        follower.stop();
        this.followers.delete(name);
      }
    }
    for (const [name, group] of groups) this.followers.set(name, new Follower(group));
  }

  /** What is to be followed, by the connection that it shares. What finds no place is paused. */
  private groups(): Map<string, [Feed, ...Feed[]]> {
    const groups = new Map<string, [Feed, ...Feed[]]>();
    for (const { feed, seenAt } of this.bySight()) {
      const { scope, runId } = feed.topic;
      const name = `${scopeName(scope)}/${runId === null ? "news" : "runs"}`;
      const group = groups.get(name);
      const isUnseen = Date.now() - seenAt > UNSEEN_MAX_MS;
      const isFull = group ? group.length === RUNS_MAX : groups.size === STREAMS_MAX;
      if (isUnseen || isFull) feed.pause();
      else if (group) group.push(feed);
      else groups.set(name, [feed]);
    }
    return groups;
  }

  /** What goes on, with when it was looked at; what somebody looks at now comes first. */
  private bySight(): { feed: Feed; seenAt: number }[] {
    const seen = new Map<Feed, number>();
    for (const tab of this.tabs) {
      const at = tab.visible ? Number.MAX_SAFE_INTEGER : tab.seenAt;
      for (const { feed } of tab.followers.values()) {
        if (!feed.isOver) seen.set(feed, Math.max(seen.get(feed) ?? 0, at));
      }
    }
    const all = [...seen].map(([feed, seenAt]) => ({ feed, seenAt }));
    return all.sort((a, b) => b.seenAt - a.seenAt);
  }
}
