// What passes between the server, the hub and the tabs.

import { type Scope, scopeName } from "~/api/scope";

/** One server-sent event. */
export type Frame = { id: string; event: string; data: string };

/** How a follower is connected to its run. */
export type Link =
  | { kind: "connecting" }
  /** `restored`: events that came at once after a break. */
  | { kind: "live"; restored: number }
  | { kind: "waiting"; until: number }
  /** Nobody looks: the connection was let go, and comes back when somebody does. */
  | { kind: "paused" }
  | { kind: "finished" }
  | { kind: "refused"; status: number };

/** What is followed: a run, or with null the begins and ends of all runs of the scope. */
export type Topic = { scope: Scope; runId: string | null };

export const topicName = ({ scope, runId }: Topic) => `${scopeName(scope)}/${runId ?? "runs"}`;

/** What a tab tells the hub. `follower` numbers the followers of a tab. */
export type ToHub =
  | { type: "hello"; lock: string }
  | { type: "follow"; follower: number; topic: Topic; cursor: number }
  | { type: "leave"; follower: number }
  | { type: "retry" }
  | { type: "visible"; visible: boolean }
  | { type: "bye" };

/** What the hub tells a tab. */
export type ToTab =
  | { type: "frames"; follower: number; frames: Frame[] }
  | { type: "link"; follower: number; link: Link };

/** The number of the event that a frame is, or follows: `9` and `9.1` are both 9. Of a scope it is a
 * time in microseconds. */
export const seqOf = (frame: Frame) => Number.parseInt(frame.id, 10);

export const isEvent = (frame: Frame) => !frame.id.includes(".");

export const isTerminal = (event: string) =>
  event === "run.completed" || event === "run.failed" || event === "run.cancelled";
