import { fireEvent, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";
import { Composer } from "~/chat/composer";
import { WordsProvider } from "~/i18n";
import { en } from "~/i18n/en";

function drawn(props: Partial<Parameters<typeof Composer>[0]> = {}) {
  const onSend = vi.fn();
  const view = render(
    <WordsProvider first={{ language: "en", dictionary: en }}>
      <Composer draft="s_test" onSend={onSend} {...props} />
    </WordsProvider>,
  );
  return { onSend, ...view, area: screen.getByRole<HTMLTextAreaElement>("textbox") };
}

test("Enter sends, Shift and Enter start a line, blanks are nothing to send", async () => {
  const { onSend, area } = drawn();
  await userEvent.type(area, "  {Enter}");
  expect(onSend).not.toHaveBeenCalled();
  await userEvent.clear(area);
  await userEvent.type(area, "one{Shift>}{Enter}{/Shift}two{Enter}");
  expect(onSend).toHaveBeenCalledExactlyOnceWith("one\ntwo");
  expect(area.value).toBe("");
});

test("Enter that ends a composition sends nothing, in any browser's way of saying so", () => {
  const { onSend, area } = drawn();
  fireEvent.change(area, { target: { value: "nihao" } });
  fireEvent.keyDown(area, { key: "Enter", isComposing: true });
  fireEvent.keyDown(area, { key: "Enter", keyCode: 229 });
  fireEvent.compositionStart(area);
  fireEvent.keyDown(area, { key: "Enter" });
  fireEvent.compositionEnd(area);
  fireEvent.keyDown(area, { key: "Enter" });
  expect(onSend).not.toHaveBeenCalled();
});

test("a draft outlives the page, and goes when it is sent", async () => {
  const first = drawn();
  await userEvent.type(first.area, "half a thought");
  first.unmount();
  const second = drawn();
  expect(second.area.value).toBe("half a thought");
  await userEvent.type(second.area, "{Enter}");
  second.unmount();
  expect(drawn().area.value).toBe("");
});

test("the arrow up asks for the last message where nothing is written, Escape stops", async () => {
  const onStop = vi.fn();
  const onLast = vi.fn();
  const { area } = drawn({ onLast, isBusy: true, onStop });
  await userEvent.type(area, "{ArrowUp}");
  await userEvent.type(area, "words{ArrowUp}");
  expect(onLast).toHaveBeenCalledOnce();
  await userEvent.type(area, "{Escape}");
  expect(onStop).toHaveBeenCalledOnce();
});
