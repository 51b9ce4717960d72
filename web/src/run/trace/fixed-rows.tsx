// A list of very many rows of one height. Only those in sight are there, and they are reused: the key
// of a row is its place in the pool, so that scrolling changes texts and moves nodes, and mounts none.

import {
  type HTMLAttributes,
  type ReactNode,
  type RefObject,
  useEffect,
  useImperativeHandle,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { flushSync } from "react-dom";

/** Rows that are ready above and below what is in sight. */
const OVERSCAN = 12;
/** The state moves in steps of so many rows. */
const CHUNK = 4;

export type FixedRowsHandle = {
  /** Brings a row into sight, by as little as possible or to the middle. */
  show(index: number, where?: "near" | "middle"): void;
  /** How many rows fit. */
  pageSize(): number;
  focus(): void;
};

type Props = Omit<HTMLAttributes<HTMLDivElement>, "children"> & {
  count: number;
  height: number;
  handle: RefObject<FixedRowsHandle | null>;
  /** Told which rows are in sight, on every change. */
  onRange: (first: number, last: number) => void;
  renderRow: (index: number, transform: string) => ReactNode;
};

export function FixedRows({ count, height, handle, onRange, renderRow, ...rest }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const [first, setFirst] = useState(0);
  const [visible, setVisible] = useState(24);

  useLayoutEffect(() => {
    const element = frame.current!;
    const measure = () => setVisible(Math.ceil(element.clientHeight / height) + 1);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [height]);

  const range = useRef(onRange);
  range.current = onRange;
  const tell = () => {
    const { scrollTop, clientHeight } = frame.current!;
    const last = Math.min(count - 1, Math.floor((scrollTop + clientHeight - 1) / height));
    range.current(Math.max(0, Math.floor(scrollTop / height)), Math.max(0, last));
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is in sight depends on these
  useEffect(tell, [count, visible, height]);

  const onScroll = () => {
    const at = Math.floor(frame.current!.scrollTop / height);
    const chunk = at - (at % CHUNK);
    // In this very frame: else a fast scroll shows blanks.
    if (chunk !== first) flushSync(() => setFirst(chunk));
    tell();
  };

  useImperativeHandle(handle, () => ({
    show(index, where = "near") {
      const element = frame.current!;
      const top = index * height;
      const { scrollTop, clientHeight } = element;
      if (where === "middle") element.scrollTop = top - clientHeight / 2 + height / 2;
      else if (top < scrollTop) element.scrollTop = top;
      else if (top + height > scrollTop + clientHeight) {
        element.scrollTop = top + height - clientHeight;
      }
    },
    pageSize: () => Math.max(1, Math.floor(frame.current!.clientHeight / height) - 1),
    focus: () => frame.current!.focus({ preventScroll: true }),
  }));

  const pool = Math.ceil(visible / CHUNK) * CHUNK + CHUNK + 2 * OVERSCAN;
  const start = Math.max(0, Math.min(first, count - visible) - OVERSCAN);
  const rows: ReactNode[] = [];
  for (let index = start; index < Math.min(count, start + pool); index += 1) {
    rows.push(
      <Slot key={index % pool}>{renderRow(index, `translateY(${index * height}px)`)}</Slot>,
    );
  }
  return (
    <div
      ref={frame}
      onScroll={onScroll}
      className="min-h-0 grow overflow-x-hidden overflow-y-auto [contain:strict] [overflow-anchor:none] focus-visible:-outline-offset-2"
      {...rest}
    >
      <div role="presentation" className="relative" style={{ height: count * height }}>
        {rows}
      </div>
    </div>
  );
}

/** Holds the key, so that whoever renders a row need not know of the pool. */
function Slot({ children }: { children: ReactNode }) {
  return children;
}
