/** The mark of OpenIntern: three bars of a trace. */
export function Mark({ size = 20 }: { size?: number }) {
  return (
    <svg viewBox="0 0 32 32" width={size} height={size} aria-hidden>
      <rect width="32" height="32" rx="7" className="fill-accent" />
      <path
        d="M9 8v16M16 8v9M23 13v11"
        className="stroke-on-accent"
        strokeWidth="3.6"
        strokeLinecap="round"
      />
    </svg>
  );
}
