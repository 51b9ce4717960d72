// A field that searches once typing pauses, and never while an input method composes.

import { useEffect, useRef, useState } from "react";
import { Input } from "./field";

const TYPING_MS = 250;
const QUERY_MAX_CHARS = 1_000;

type Props = {
  label: string;
  value: string;
  onChange: (query: string) => void;
  className?: string;
};

export function SearchInput({ label, value, onChange, className = "w-[180px]" }: Props) {
  const [text, setText] = useState(value);
  const [isComposing, setComposing] = useState(false);
  const told = useRef(value);
  const tell = useRef(onChange);
  tell.current = onChange;
  useEffect(() => {
    if (isComposing || text.trim() === told.current) return;
    const timer = setTimeout(() => {
      told.current = text.trim();
      tell.current(told.current);
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, isComposing]);
  useEffect(() => {
    // The address says otherwise: filters were cleared, or one went back.
    if (value === told.current) return;
    told.current = value;
    setText(value);
  }, [value]);
  return (
    <Input
      type="search"
      data-filter
      value={text}
      maxLength={QUERY_MAX_CHARS}
      aria-label={label}
      placeholder={label}
      onChange={(event) => setText(event.target.value)}
      onCompositionStart={() => setComposing(true)}
      onCompositionEnd={() => setComposing(false)}
      className={className}
    />
  );
}
