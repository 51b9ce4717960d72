// The connections of all tabs of a browser, in one place: a run is followed once however many tabs
// show it, and never more runs over a stream of their own than the browser has connections for.

import { Feed, type Listener } from "./feed";
import { type ToHub, type ToTab, topicName } from "./frames";

/** Of six connections to one server, two are left for everything else. */
export const STREAMS_MAX = 4;
/** A run that nobody has looked at for so long is let go, until somebody does. */
export const UNSEEN_MAX_MS = 5 * 60_000;

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
        this.arrange();
        break;
      case "retry":
        for (const feed of this.feeds.values()) feed.retry();
        break;
      case "visible":
        tab.visible = said.visible;
        tab.seenAt = Date.now();
        this.arrange();
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
    this.arrange();
  }

  private leave(tab: Tab, follower: number): void {
    const followed = tab.followers.get(follower);
    tab.followers.delete(follower);
    followed?.feed.remove(followed.listener);
  }

  private drop(tab: Tab): void {
    for (const follower of [...tab.followers.keys()]) this.leave(tab, follower);
    this.tabs.delete(tab);
    this.arrange();
  }

  /** Gives streams to what was looked at last, and lets go of what nobody follows or sees. */
  private arrange(): void {
    for (const [name, feed] of this.feeds) {
      if (!feed.isIdle) continue;
      feed.stop();
      this.feeds.delete(name);
    }
    const seen = new Map<Feed, number>();
    for (const tab of this.tabs) {
      for (const { feed } of tab.followers.values()) {
        const at = tab.visible ? Number.POSITIVE_INFINITY : tab.seenAt;
        seen.set(feed, Math.max(seen.get(feed) ?? 0, at));
      }
    }
    const now = Date.now();
    const lively = [...seen.entries()]
      .filter(([feed]) => feed.link.kind !== "finished" && feed.link.kind !== "refused")
      .sort(([a, atA], [b, atB]) => (atA === atB ? order(a) - order(b) : atB > atA ? 1 : -1));
    lively.forEach(([feed, at], place) => {
      if (now - at > UNSEEN_MAX_MS) feed.set("pause");
      else feed.set(place < STREAMS_MAX ? "stream" : "poll");
    });
  }
}

/** Among those seen alike, what has a stream keeps it. */
const order = (feed: Feed) => (feed.mode === "stream" ? 0 : 1);
