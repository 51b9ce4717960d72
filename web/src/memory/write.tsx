// Writing a memory by hand.

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { answered, api } from "~/api/client";
import { MEMORY_TYPES, type MemoryType } from "~/api/types";
import { useWords } from "~/i18n";
import { ImportanceField } from "~/memory/importance";
import { Button } from "~/ui/button";
import { Dialog } from "~/ui/dialog";
import { Field, Select, Textarea } from "~/ui/field";
import { Failure } from "~/ui/states";

export function WriteMemory({ onClose }: { onClose: () => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [type, setType] = useState<MemoryType>("core");
  const [text, setText] = useState("");
  const [importance, setImportance] = useState(0.5);
  const write = useMutation({
    mutationFn: () => answered(api.POST("/api/memories", { body: { type, text, importance } })),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["memories"] });
      onClose();
    },
  });
  return (
    <Dialog title={t("memory.write")} onClose={onClose}>
      <form action={() => write.mutate()} className="grid gap-4">
        <Field label={t("memory.layer")} hint={t(`layer.${type}.hint`)}>
          {(attributes) => (
            <Select
              {...attributes}
              value={type}
              onChange={(event) => setType(event.target.value as MemoryType)}
            >
              {MEMORY_TYPES.map((one) => (
                <option key={one} value={one}>
                  {t(`layer.${one}`)}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label={t("memory.text")}>
          {(attributes) => (
            <Textarea
              {...attributes}
              required
              rows={5}
              value={text}
              onChange={(event) => setText(event.target.value)}
            />
          )}
        </Field>
        <ImportanceField value={importance} step={0.1} digits={1} onChange={setImportance} />
        {write.error && <Failure error={write.error} />}
        <Button look="primary" type="submit" disabled={write.isPending || !text.trim()}>
          {t("memory.write")}
        </Button>
      </form>
    </Dialog>
  );
}
