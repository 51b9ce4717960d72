// One conversation: what was said, and the composer below it.

import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { ArrowDown } from "lucide-react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { again } from "~/api/again";
import { answered, api } from "~/api/client";
import { runQuery, sessionRunsQuery } from "~/api/queries";
import { hasEnded, type IfBusy, type Run } from "~/api/types";
import { useCan } from "~/app/identity";
import { Composer, type ComposerHandle } from "~/chat/composer";
import { ContextMeter } from "~/chat/context-meter";
import { type Message, newMessageKey, useFork, useSend } from "~/chat/send";
import type { TurnActions } from "~/chat/turn";
import { turnsOf } from "~/chat/turns";
import { Versions } from "~/chat/versions";
import { useWords } from "~/i18n";
import { Button } from "~/ui/button";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { useTitle } from "~/ui/title";

/** This near to the end, one follows it. */
const NEAR_END_PX = 120;
/** Runs end elsewhere, too: the list is read again while one is at work. */
const BUSY_MS = 3_000;

export function SessionPage() {
  const { key } = useParams({ from: "/shell/sessions/$key" });
  // Another session is another page: its draft, its place, its runs.
  return <Conversation key={key} session={key} />;
}

function Conversation({ session }: { session: string }) {
  const { t } = useWords();
  useTitle(session);
  const queries = useQueryClient();
  const mayWrite = useCan("runs:write");
  const list = useInfiniteQuery({
    ...sessionRunsQuery(session),
    refetchInterval: (query) =>
      again(
        query,
        query.state.data?.pages[0]?.runs.some(({ status }) => !hasEnded(status)) && BUSY_MS,
      ),
  });
  const runs = useMemo(
    () => (list.data?.pages.flatMap((page) => page.runs) ?? []).toReversed(),
    [list.data],
  );
  const active = runs.find(({ status }) => !hasEnded(status));
  const last = runs.at(-1);
  const composer = useRef<ComposerHandle>(null);
  const send = useSend();
  const fork = useFork();
  const turns = useMemo(() => turnsOf(runs), [runs]);
  const [held, setHeld] = useState<string | null>(null);
  const [editing, setEditing] = useState<Run | null>(null);
  const end = useEnd();
  const { follow } = end;

  // biome-ignore lint/correctness/useExhaustiveDependencies: a turn more is a reason to go to the end
  useEffect(() => follow(true), [runs.length, follow]);

  const deliver = (message: Message) => {
    setHeld(null);
    send.mutate(message, {
      onError: () => {
        // What failed to be sent is not lost.
        if (mayWrite) composer.current?.write(message.input);
      },
    });
  };
  const say = (input: string, ifBusy: IfBusy = "queue") =>
    deliver({ input, session, agent: last?.agent_id, ifBusy, key: newMessageKey() });
  const stop = async (run: Run) => {
    const path = { run_id: run.run_id };
    // A run that has just ended cannot be cancelled: its last event says so, too.
    await answered(api.POST("/api/runs/{run_id}/cancel", { params: { path } })).catch(() => {});
    void queries.invalidateQueries({ queryKey: ["session", session] });
  };
  // Lists cut long messages: what is sent again is read whole.
  const inputOf = async (run: Run) => (await queries.fetchQuery(runQuery(run.run_id))).input;
  const branch = (run: Run, input?: string) => {
    setEditing(null);
    fork.mutate(
      { run, step: 0, input, key: newMessageKey() },
      { onError: () => input && composer.current?.write(input) },
    );
  };
  const actions: TurnActions = mayWrite
    ? {
        onRetry: (run) => branch(run),
        onEdit: (run) =>
          void inputOf(run).then((input) => {
            setEditing(run);
            composer.current?.write(input);
          }),
      }
    : {};

  return (
    <div className="flex h-full min-h-0 flex-col">
      <h1 className="sr-only">{t("session.title", { session })}</h1>
      <div
        ref={end.frame}
        onScroll={end.onScroll}
        role="log"
        aria-live="off"
        aria-label={t("session.title", { session })}
        tabIndex={0}
        className="relative min-h-0 grow overflow-y-auto outline-none"
      >
        <div className="mx-auto max-w-[760px] px-4 pt-8">
          {list.hasNextPage && (
            <div className="grid place-items-center pb-6">
              <Button disabled={list.isFetchingNextPage} onClick={() => list.fetchNextPage()}>
                {t("session.earlier")}
              </Button>
            </div>
          )}
          {list.error && <Failure error={list.error} onRetry={() => list.refetch()} />}
          {list.isPending && <LoadingRows rows={6} />}
          {list.data && runs.length === 0 && !send.isPending && (
            <Empty title={t("session.empty")} />
          )}
          {turns.map((turn) => (
            <Versions key={turn.id} of={turn} actions={actions} onGrow={follow} />
          ))}
          {send.isPending && (
            <p className="mb-7 ml-auto w-fit max-w-[80%] rounded-card rounded-br-badge bg-soft px-4 py-2 whitespace-pre-wrap opacity-70 wrap-any">
              {send.variables.input}
            </p>
          )}
        </div>
      </div>
      <div className="relative mx-auto w-full max-w-[760px] px-4 pb-4">
        {!end.isNear && (
          <Button
            className="absolute -top-11 left-1/2 -translate-x-1/2 rounded-full shadow-float"
            onClick={() => follow(true)}
          >
            <ArrowDown size={14} aria-hidden />
            {t("session.latest")}
          </Button>
        )}
        {send.isError && (
          <div className="mb-2">
            <Failure error={send.error} onRetry={() => deliver(send.variables)} />
          </div>
        )}
        {fork.isError && (
          <div className="mb-2">
            <Failure error={fork.error} onRetry={() => fork.mutate(fork.variables)} />
          </div>
        )}
        {editing && (
          <p className="mb-2 flex items-center gap-2 rounded-card border border-line bg-panel py-1.5 pr-2 pl-4 text-sm">
            <span className="mr-auto">{t("chat.editing")}</span>
            <Button look="ghost" className="h-7" onClick={() => setEditing(null)}>
              {t("chat.editing.new")}
            </Button>
          </p>
        )}
        {held !== null && active && (
          <Busy
            onQueue={() => say(held, "queue")}
            onInterrupt={() => say(held, "interrupt")}
            onBack={() => {
              composer.current?.write(held);
              setHeld(null);
            }}
          />
        )}
        {mayWrite ? (
          <Composer
            handle={composer}
            draft={session}
            isBusy={active !== undefined}
            onLast={last && (() => actions.onEdit?.(last))}
            onSend={(input) => {
              if (editing) branch(editing, input);
              else if (active) setHeld(input);
              else say(input);
            }}
            onStop={active && (() => void stop(active))}
            autoFocus
          />
        ) : (
          <p className="py-2 text-center text-sm text-muted">
            {t("forbidden.right", { right: "runs:write" })}
          </p>
        )}
        <div className="mt-1.5 flex items-center justify-center gap-3 text-meta text-faint">
          <code className="truncate font-mono">{session}</code>
          <Link to="/runs" search={{ session }} className="hover:underline">
            {t("session.runs")}
          </Link>
          <ContextMeter runs={runs} />
        </div>
      </div>
    </div>
  );
}

type BusyProps = { onQueue: () => void; onInterrupt: () => void; onBack: () => void };

/** The session is at work: when is the new message to be dealt with? */
function Busy({ onQueue, onInterrupt, onBack }: BusyProps) {
  const { t } = useWords();
  return (
    <div
      role="alertdialog"
      aria-label={t("busy.title")}
      className="mb-2 flex flex-wrap items-center gap-2 rounded-card border border-line bg-panel px-4 py-2.5"
    >
      <p className="mr-auto text-sm">{t("busy.title")}</p>
      <Button look="ghost" onClick={onBack}>
        {t("busy.back")}
      </Button>
      <Button onClick={onInterrupt}>{t("busy.interrupt")}</Button>
      <Button look="primary" autoFocus onClick={onQueue}>
        {t("busy.queue")}
      </Button>
    </div>
  );
}

/** The end of what scrolls: followed as long as one is near it. */
function useEnd() {
  const frame = useRef<HTMLDivElement>(null);
  const [isNear, setNear] = useState(true);
  const wasNear = useRef(true);
  const onScroll = useCallback(() => {
    const { scrollHeight, scrollTop, clientHeight } = frame.current!;
    wasNear.current = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    setNear(wasNear.current);
  }, []);
  const follow = useCallback((always = false) => {
    if (!always && !wasNear.current) return;
    requestAnimationFrame(() => {
      const element = frame.current;
      if (element) element.scrollTop = element.scrollHeight;
    });
  }, []);
  return { frame, isNear, onScroll, follow };
}
