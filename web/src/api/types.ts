// Short names for what the API says; the shapes are generated from its document.

import type { components } from "./schema";

type Schemas = components["schemas"];

export type Agent = Schemas["AgentInfo"];
export type ApiKey = Schemas["ApiKey"];
export type AuditRecord = Schemas["AuditRecord"];
export type Checkpoint = Schemas["Checkpoint"];
export type ContextSegment = Schemas["ContextSegment"];
export type ContextText = Schemas["ContextText"];
export type Explanation = Schemas["Explanation"];
export type Hit = Schemas["Hit"];
export type Identity = Schemas["WhoAmI"];
export type IfBusy = Schemas["IfBusy"];
export type LeftOutTool = Schemas["LeftOutTool"];
export type Memory = Schemas["Memory"];
export type MemoryFilters = Schemas["MemoryFilters"];
export type MemoryLink = Schemas["MemoryLink"];
export type MemorySummary = Schemas["MemorySummary"];
export type MemoryType = Schemas["MemoryType"];
export type MemoryVersion = Schemas["MemoryVersion"];
export type SegmentKind = Schemas["SegmentKind"];
export type StepContext = Schemas["StepContext"];
export type Node = Schemas["NodeInfo"];
export type ResumeReason = Schemas["ResumeReason"];
export type Run = Schemas["Run"];
export type RunEvent = Schemas["Event"];
export type RunStatus = Schemas["RunStatus"];
export type Session = Schemas["Session"];
export type TaughtModel = Schemas["TaughtModel"];
export type Tool = Schemas["ToolInfo"];
export type Usage = Schemas["Usage"];
export type UsageRow = Schemas["UsageRow"];
export type Visibility = Schemas["Visibility"];
export type SpanKind = Schemas["SpanKind"];
export type SpanPart = Schemas["SpanPart"];
export type TracePage = Schemas["TracePage"];
export type TraceSpan = Schemas["TraceSpan"];

export type Right = "runs:read" | "runs:write" | "memory:read" | "memory:write" | "admin";

export const RUN_STATUSES: RunStatus[] = [
  "pending",
  "running",
  "waiting",
  "completed",
  "failed",
  "cancelled",
];

export const MEMORY_TYPES: MemoryType[] = ["core", "episodic", "archival"];

export const SPAN_KINDS: SpanKind[] = ["step", "memory", "llm", "tool", "note"];

export const hasEnded = (status: RunStatus) =>
  status === "completed" || status === "failed" || status === "cancelled";
