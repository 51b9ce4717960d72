// The places of the application, in the order of the navigation.

import {
  Activity,
  Bot,
  Brain,
  ChartColumn,
  KeyRound,
  type LucideIcon,
  MessageSquareText,
  Plug,
  ScrollText,
  Server,
  SlidersHorizontal,
  SquarePen,
} from "lucide-react";
import type { Right } from "~/api/types";
import type { PlainKey } from "~/i18n";

export type Place = {
  to:
    | "/"
    | "/sessions"
    | "/runs"
    | "/memory"
    | "/queue"
    | "/usage"
    | "/agents"
    | "/tools"
    | "/keys"
    | "/audit"
    | "/settings";
  name: PlainKey;
  icon: LucideIcon;
  /** The right without which there is nothing to see. */
  right: Right | null;
  /** `g` and this key go there. */
  key?: string;
};

export const PLACES: Place[] = [
  { to: "/", name: "nav.new", icon: SquarePen, right: "runs:write", key: "n" },
  { to: "/sessions", name: "nav.sessions", icon: MessageSquareText, right: "runs:read", key: "s" },
  { to: "/runs", name: "nav.runs", icon: Activity, right: "runs:read", key: "r" },
  { to: "/memory", name: "nav.memory", icon: Brain, right: "memory:read", key: "m" },
  { to: "/queue", name: "nav.queue", icon: Server, right: "runs:read", key: "q" },
  { to: "/usage", name: "nav.usage", icon: ChartColumn, right: "runs:read", key: "u" },
  { to: "/agents", name: "nav.agents", icon: Bot, right: "runs:read" },
  { to: "/tools", name: "nav.tools", icon: Plug, right: "runs:read" },
  { to: "/keys", name: "nav.keys", icon: KeyRound, right: "admin" },
  { to: "/audit", name: "nav.audit", icon: ScrollText, right: "admin" },
  { to: "/settings", name: "nav.settings", icon: SlidersHorizontal, right: null },
];
