// Where a message is written. Enter sends, but never while an input method composes. What is written
// is kept until it is sent.

import { ArrowUp, Square } from "lucide-react";
import {
  type CompositionEvent,
  type KeyboardEvent,
  type Ref,
  useImperativeHandle,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { useWords } from "~/i18n";
import { IconButton } from "~/ui/button";
import { forgetDraft, keepDraft, readDraft } from "./drafts";

const LINES_MAX = 8;
const LINE_PX = 22;
const INPUT_MAX_CHARS = 262_144;

export type ComposerHandle = { write(text: string): void };

type Props = {
  /** Names the draft. */
  draft: string;
  isBusy?: boolean;
  onSend: (text: string) => void;
  onStop?: () => void;
  /** The arrow up asks for what was sent last. */
  onLast?: (() => void) | undefined;
  handle?: Ref<ComposerHandle>;
  autoFocus?: boolean;
};

export function Composer({ draft, isBusy, onSend, onStop, onLast, handle, autoFocus }: Props) {
  const { t } = useWords();
  const [text, setText] = useState(() => readDraft(draft));
  const area = useRef<HTMLTextAreaElement>(null);
  const isComposing = useRef(false);

  const write = (next: string) => {
    setText(next);
    keepDraft(draft, next);
  };
  useImperativeHandle(handle, () => ({
    write(next) {
      write(next);
      area.current?.focus();
    },
  }));
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useLayoutEffect(() => {
    const element = area.current!;
    element.style.height = "0";
    element.style.height = `${Math.min(element.scrollHeight, LINES_MAX * LINE_PX + 8)}px`;
  }, [text]);

  const send = () => {
    if (!text.trim()) return;
    onSend(text);
    setText("");
    forgetDraft(draft);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // 229: what Safari says of the Enter that ends a composition.
    if (isComposing.current || event.nativeEvent.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && isBusy && onStop) {
      event.preventDefault();
      onStop();
    } else if (event.key === "ArrowUp" && text === "" && onLast) {
      event.preventDefault();
      onLast();
    }
  };
  const onComposition = (event: CompositionEvent) => {
    if (event.type === "compositionstart") isComposing.current = true;
    // The keydown that ends it comes after, in some browsers.
    else setTimeout(() => (isComposing.current = false));
  };

  const isStop = isBusy && onStop && !text.trim();
  return (
    <div className="flex items-end gap-2 rounded-card border border-control bg-panel py-2 pr-2 pl-4 focus-within:border-accent focus-within:outline-1 focus-within:outline-accent">
      <textarea
        ref={area}
        rows={1}
        value={text}
        maxLength={INPUT_MAX_CHARS}
        aria-label={t("chat.message")}
        placeholder={t("chat.message")}
        autoFocus={autoFocus}
        onChange={(event) => write(event.target.value)}
        onKeyDown={onKeyDown}
        onCompositionStart={onComposition}
        onCompositionEnd={onComposition}
        className="min-h-8 min-w-0 grow resize-none bg-transparent py-[5px] outline-none placeholder:text-faint"
      />
      {isStop ? (
        <IconButton label={t("chat.stop")} look="plain" onClick={onStop}>
          <Square size={14} />
        </IconButton>
      ) : (
        <IconButton label={t("chat.send")} look="primary" disabled={!text.trim()} onClick={send}>
          <ArrowUp size={16} />
        </IconButton>
      )}
    </div>
  );
}
