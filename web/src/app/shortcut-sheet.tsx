// All keys that do something, on one sheet.

import { type PlainKey, useWords } from "~/i18n";
import { Dialog } from "~/ui/dialog";
import { Kbd } from "~/ui/page";
import { modifier } from "./keys";
import { PLACES } from "./nav-items";

const SECTIONS: { title: PlainKey; rows: [string[], PlainKey][] }[] = [
  {
    title: "keyboard.everywhere",
    rows: [
      [[`${modifier}K`], "palette.open"],
      [["/"], "keyboard.filter"],
      [["["], "nav.toggle"],
      [["?"], "keyboard.help"],
      ...PLACES.filter(({ key }) => key).map(({ key, name }): [string[], PlainKey] => [
        ["g", key!],
        name,
      ]),
    ],
  },
  {
    title: "keyboard.lists",
    rows: [
      [["j", "k"], "keyboard.move"],
      [["←", "→"], "keyboard.fold"],
      [["Enter"], "keyboard.enter"],
      [["e", "E"], "trace.error"],
      [["s"], "trace.slowest"],
      [["$"], "trace.costliest"],
      [["f"], "keyboard.follow"],
      [["y"], "run.link"],
      [["Esc"], "keyboard.escape"],
    ],
  },
  {
    title: "keyboard.chat",
    rows: [
      [["Enter"], "chat.send"],
      [["Shift", "Enter"], "keyboard.line"],
      [["↑"], "keyboard.last"],
      [["Esc"], "chat.stop"],
    ],
  },
];

export function ShortcutSheet({ onClose }: { onClose: () => void }) {
  const { t } = useWords();
  return (
    <Dialog title={t("keyboard.help")} description={t("keyboard.off")} onClose={onClose}>
      {SECTIONS.map(({ title, rows }) => (
        <section key={title} className="mt-3 first:mt-0">
          <h3 className="mb-1 text-meta font-medium text-muted">{t(title)}</h3>
          <dl className="grid gap-1 text-sm">
            {rows.map(([keys, name]) => (
              <div key={keys.join() + name} className="flex items-center justify-between">
                <dt>{t(name)}</dt>
                <dd className="flex gap-1">
                  {keys.map((key) => (
                    <Kbd key={key}>{key}</Kbd>
                  ))}
                </dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}
