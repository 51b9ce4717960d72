import { expect, test } from "vitest";
import { en } from "~/i18n/en";
import { formatter } from "~/i18n/format";
import { type Dictionary, translator } from "~/i18n/translate";
import { zhCN } from "~/i18n/zh-CN";
import { warningName } from "~/run/warnings";

const placeholders = (message: Dictionary[keyof Dictionary]) => {
  const text = typeof message === "string" ? message : message.other;
  return [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
};

test("both dictionaries have the same placeholders, and nothing is empty", () => {
  for (const key of Object.keys(en) as (keyof typeof en)[]) {
    expect(placeholders(zhCN[key]), key).toEqual(placeholders(en[key]));
    expect(JSON.stringify(zhCN[key]).length, key).toBeGreaterThan(2);
  }
});

test("numbers choose the form of a word, in the language's way", () => {
  const english = translator("en", en);
  expect(english("runs.newer", { n: 1 })).toBe("1 new run");
  expect(english("runs.newer", { n: 2_000 })).toBe("2,000 new runs");
  expect(translator("zh-CN", zhCN)("runs.newer", { n: 3 })).toBe("3 个新运行");
});

test("durations, tokens and money are short and exact enough", () => {
  const format = formatter("en", "utc");
  const check = (said: string, want: string) => expect(said).toBe(want);
  check(format.duration(42.4), "42 ms");
  check(format.duration(3_210), "3.21 s");
  check(format.duration(3_880_000), "64m 40s");
  check(format.duration(7_500_000), "2h 05m");
  check(format.tokens(934), "934");
  check(format.tokens(1_404), "1.4k");
  check(format.tokens(4_300_000), "4.3M");
  check(format.cost(0), "$0");
  check(format.cost(0.0031), "$0.0031");
  check(format.cost(8.441), "$8.44");
  check(format.bytes(2_400_000), "2.3 MB");
});

test("times are told in the zone that was chosen", () => {
  expect(formatter("en", "utc").exactTime("2026-01-31T12:00:00.000Z")).toContain("12:00:00 UTC");
});

test("warnings are named in the language of the page, new ones by their code", () => {
  const chinese = translator("zh-CN", zhCN);
  expect(warningName(chinese, "cache_lost")).toBe(zhCN["warning.cache_lost"]);
  expect(warningName(chinese, "from_tomorrow")).toBe("from_tomorrow");
});
