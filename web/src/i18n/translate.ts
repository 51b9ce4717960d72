// From a key and its values to words. Both dictionaries have exactly the same keys, and a call names
// exactly the placeholders of its message: the compiler checks it.

import type { en } from "./en";

export type Message = string | { one: string; other: string };
export type Key = keyof typeof en;
export type Dictionary = Record<Key, Message>;

type Placeholder<Text> = Text extends `${string}{${infer Name}}${infer Rest}`
  ? Name | Placeholder<Rest>
  : never;
type TextOf<M> = M extends { other: infer Other } ? Other : M;
type Values<K extends Key> = Record<Placeholder<TextOf<(typeof en)[K]>>, string | number>;

/** The values of a message; none where it has no placeholders. */
export type Arguments<K extends Key> = [Placeholder<TextOf<(typeof en)[K]>>] extends [never]
  ? []
  : [values: Values<K>];

/** Keys of messages without placeholders, for lists of names. */
export type PlainKey = { [K in Key]: Arguments<K> extends [] ? K : never }[Key];

export type Translate = <K extends Key>(key: K, ...values: Arguments<K>) => string;

export function translator(language: string, dictionary: Dictionary): Translate {
  const plural = new Intl.PluralRules(language);
  const number = new Intl.NumberFormat(language);
  return (key, ...[values]) => {
    const said = (values ?? {}) as Record<string, string | number>;
    const message = dictionary[key];
    const text =
      typeof message === "string"
        ? message
        : plural.select(Number(said.n)) === "one"
          ? message.one
          : message.other;
    return text.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = said[name] ?? "";
      return typeof value === "number" ? number.format(value) : value;
    });
  };
}
