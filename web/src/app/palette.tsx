// Search or jump: places, recent sessions and runs, and anything whose id one has.

import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import * as Radix from "radix-ui/dialog";
import { type ReactNode, useState } from "react";
import { answered, api } from "~/api/client";
import { useWords } from "~/i18n";
import { useIdentity } from "./identity";
import { PLACES } from "./nav-items";

const RECENT = 6;
const ITEM =
  "flex h-9 cursor-pointer items-center gap-2.5 rounded-control px-3 text-sm data-[selected=true]:bg-soft";

export function Palette({ onClose }: { onClose: () => void }) {
  const { t } = useWords();
  const { rights } = useIdentity();
  const navigate = useNavigate();
  const [query, setQuery] = useState("");
  const recent = useQuery({
    queryKey: ["palette"],
    queryFn: () => answered(api.GET("/api/sessions", { params: { query: { limit: RECENT } } })),
    enabled: rights.includes("runs:read"),
  });
  const id = query.trim();
  const openRun = () => navigate({ to: "/runs/$id", params: { id } });
  const openMemory = () => navigate({ to: "/memory/$id", params: { id } });
  const openSession = (key: string) => navigate({ to: "/sessions/$key", params: { key } });
  const item = (value: string, go: () => unknown, content: ReactNode) => (
    <Command.Item
      key={value}
      value={value}
      className={ITEM}
      onSelect={() => {
        onClose();
        go();
      }}
    >
      {content}
    </Command.Item>
  );

  return (
    <Radix.Root open onOpenChange={(open) => !open && onClose()}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-(--shade)" />
        <Radix.Content
          aria-describedby={undefined}
          className="fixed top-[12vh] left-1/2 z-50 w-[min(560px,calc(100vw-32px))] -translate-x-1/2 overflow-hidden rounded-card border border-line bg-panel shadow-float outline-none"
        >
          <Radix.Title className="sr-only">{t("palette.open")}</Radix.Title>
          <Command label={t("palette.open")} loop>
            <Command.Input
              value={query}
              onValueChange={setQuery}
              placeholder={t("palette.hint")}
              className="h-12 w-full border-b border-line bg-transparent px-4 text-base outline-none placeholder:text-faint"
            />
            <Command.List className="max-h-[50vh] overflow-y-auto p-2 [&_[cmdk-group-heading]]:px-3 [&_[cmdk-group-heading]]:py-1 [&_[cmdk-group-heading]]:text-meta [&_[cmdk-group-heading]]:text-muted">
              <Command.Empty className="px-3 py-6 text-center text-sm text-muted">
                {t("palette.empty")}
              </Command.Empty>
              {/^run_/.test(id) && item(id, openRun, t("palette.run", { id }))}
              {/^mem_/.test(id) && item(id, openMemory, t("palette.memory", { id }))}
              <Command.Group heading={t("palette.places")}>
                {PLACES.filter(({ right }) => right === null || rights.includes(right)).map(
                  ({ to, name, icon: Icon }) =>
                    item(
                      `${t(name)} ${to}`,
                      () => navigate({ to }),
                      <>
                        <Icon size={15} aria-hidden className="text-muted" />
                        {t(name)}
                      </>,
                    ),
                )}
              </Command.Group>
              {recent.data && recent.data.sessions.length > 0 && (
                <Command.Group heading={t("palette.recent")}>
                  {recent.data.sessions.map(({ session_key, last_input }) =>
                    item(
                      `${session_key} ${last_input}`,
                      () => openSession(session_key),
                      <>
                        <span className="truncate">{last_input}</span>
                        <code className="ml-auto shrink-0 font-mono text-meta text-muted">
                          {session_key}
                        </code>
                      </>,
                    ),
                  )}
                </Command.Group>
              )}
            </Command.List>
          </Command>
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
