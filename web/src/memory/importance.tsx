// How much a memory matters, as a slider.

import { useWords } from "~/i18n";
import { Field, Input } from "~/ui/field";

type Props = { value: number; step: number; digits: number; onChange: (value: number) => void };

export function ImportanceField({ value, step, digits, onChange }: Props) {
  const { t } = useWords();
  return (
    <Field label={`${t("memory.importance")} ${value.toFixed(digits)}`}>
      {(attributes) => (
        <Input
          {...attributes}
          type="range"
          min={0}
          max={1}
          step={step}
          value={value}
          onChange={(event) => onChange(event.target.valueAsNumber)}
          className="border-0 bg-transparent px-0 accent-accent"
        />
      )}
    </Field>
  );
}
