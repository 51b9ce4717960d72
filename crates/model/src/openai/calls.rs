//! Assembles tool calls from fragments, however a server tells them apart.
//!
//! OpenAI gives each fragment an `index`, and the first one a name and an id. Other servers leave the
//! index out, give every call the index 0 or no id, repeat name and id in each fragment, repeat all
//! arguments so far, or send a whole call a second time.

use protocol::json::with_exact_integers;
use serde_json::Value;

use crate::{
    answer::{PartialCall, is_bare},
    error::ModelError,
    limits::{CALL_ARGS_MAX_BYTES, CALL_NAME_MAX_BYTES, CALLS_MAX, REASONING_MAX_BYTES, check},
};

/// Longest id of a call that is kept; a longer one is treated as absent.
const ID_MAX_BYTES: usize = 512;

/// One fragment of a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CallFragment {
    index: Option<u64>,
    id: String,
    name: String,
    args: String,
    extra: Value,
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(crate) struct GatheredCalls(Vec<GatheredCall>);

/// A call, its id, and what is attached to it.
#[derive(Debug, Default, Clone)]
pub(crate) struct GatheredCall {
    /// A label, and no count: some servers begin at 1, or go on counting from answer to answer.
    index: u64,
    pub(crate) call: PartialCall,
    /// As the provider said it; empty where it gave none.
    pub(crate) id: String,
    pub(crate) extra: Value,
}

impl CallFragment {
    /// `None` for what is not a fragment.
    pub(crate) fn of(fragment: &Value) -> Option<Self> {
        let fields = fragment.as_object()?;
        let index = match fields.get("index") {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        Some(Self {
            index,
            id: text(fields.get("id")).to_owned(),
            extra: fields.get("extra_content").cloned().unwrap_or_default(),
            ..Self::of_function(fields.get("function").unwrap_or(&Value::Null))
        })
    }

    /// Name and arguments alone.
    pub(crate) fn of_function(function: &Value) -> Self {
        let args = match function.get("arguments") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        Self { name: text(function.get("name")).trim().to_owned(), args, ..Self::default() }
    }

    /// It has neither id nor name: it can only go on with a call.
    fn is_anonymous(&self) -> bool {
        self.id.is_empty() && self.name.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.is_anonymous() && self.args.is_empty() && self.extra.is_null()
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

impl GatheredCall {
    /// The fragment is this whole call once more, and no second call.
    fn is_said_by(&self, fragment: &CallFragment) -> bool {
        let same_id = !fragment.id.is_empty() && fragment.id == self.id;
        // Two calls without ids may be alike, as long as each has its name.
        let without_id = fragment.id.is_empty()
            && fragment.index.is_none_or(|index| index == self.index)
            && (!self.id.is_empty() || fragment.name.is_empty());
        (same_id || without_id)
            && (fragment.name.is_empty() || fragment.name == self.call.tool)
            && self.call.is_whole()
            && (self.call.args.trim() == fragment.args.trim() || is_bare(&fragment.args))
            && (!fragment.args.is_empty() || fragment.extra.is_null())
    }

    fn extend(&mut self, fragment: CallFragment) -> Result<(), ModelError> {
        if self.id.is_empty() && fragment.id.len() <= ID_MAX_BYTES {
            self.id = fragment.id;
        }
        if !fragment.extra.is_null() {
            check("REASONING_MAX_BYTES", fragment.extra.to_string().len(), REASONING_MAX_BYTES)?;
            self.extra = fragment.extra;
        }
        let call = &mut self.call;
        // A name is sent whole; some servers repeat it in every fragment, some send it in pieces.
        if call.tool.is_empty() || call.args.is_empty() && fragment.name.starts_with(&call.tool) {
            call.tool = fragment.name;
        } else if call.args.is_empty() {
            call.tool.push_str(&fragment.name);
        }
        check("CALL_NAME_MAX_BYTES", call.tool.len(), CALL_NAME_MAX_BYTES)?;
        // Unescaped, what an object begins with cannot stand inside of it: all so far, once more.
        let is_placeholder = call.is_bare() && !is_bare(&fragment.args);
        let is_all_so_far =
            call.args.starts_with('{') && !call.is_whole() && fragment.args.starts_with(&call.args);
        if is_placeholder || is_all_so_far {
            call.args.clear();
        }
        check("CALL_ARGS_MAX_BYTES", call.args.len() + fragment.args.len(), CALL_ARGS_MAX_BYTES)?;
        call.args.push_str(&fragment.args);
        Ok(())
    }
}

impl GatheredCalls {
    /// Adds a fragment to its call, or begins a new one.
    pub(crate) fn add(&mut self, fragment: CallFragment) -> Result<(), ModelError> {
        if fragment.is_empty() || self.0.iter().any(|gathered| gathered.is_said_by(&fragment)) {
            return Ok(());
        }
        let at = match self.call_of(&fragment) {
            Some(at) => at,
            None => {
                check("CALLS_MAX", self.0.len() + 1, CALLS_MAX)?;
                // A second call under the same index may leave its name out.
                let last = self.0.last().filter(|last| Some(last.index) == fragment.index);
                let tool = last.filter(|_| fragment.name.is_empty()).map(|last| &last.call.tool);
                let call = PartialCall {
                    tool: tool.cloned().unwrap_or_default(),
                    ..PartialCall::default()
                };
                let index = fragment.index.unwrap_or(self.0.len() as u64);
                self.0.push(GatheredCall { index, call, ..GatheredCall::default() });
                self.0.len() - 1
            }
        };
        match self.0.get_mut(at) {
            Some(gathered) => gathered.extend(fragment),
            None => Ok(()),
        }
    }

    /// The call that a fragment belongs to; `None` for a new one.
    fn call_of(&self, fragment: &CallFragment) -> Option<usize> {
        let named = !fragment.name.is_empty();
        let by_id = || {
            let is_same = |gathered: &GatheredCall| gathered.id == fragment.id;
            self.0.iter().rposition(is_same).filter(|_| !fragment.id.is_empty())
        };
        let by_index = |index: u64| self.0.iter().rposition(|gathered| gathered.index == index);
        let at = match fragment.index {
            // Under an index of its own, but with nothing to begin a call with.
            Some(index) => by_index(index).or_else(|| {
                let last = self.0.len().checked_sub(1)?;
                let is_open = self.0.get(last).is_some_and(|last| !last.call.is_whole());
                (fragment.is_anonymous() && is_open).then_some(last)
            }),
            None => {
                by_id().or_else(|| match named && fragment.id.is_empty() || self.0.is_empty() {
                    true => None,
                    // Neither name nor id of its own: it goes on with the last.
                    false if fragment.id.is_empty() => self.0.len().checked_sub(1),
                    false => self
                        .0
                        .iter()
                        .rposition(|gathered| gathered.id.is_empty())
                        .filter(|_| !named),
                })
            }
        }?;
        let gathered = self.0.get(at)?;
        let other_id =
            !fragment.id.is_empty() && !gathered.id.is_empty() && gathered.id != fragment.id;
        let same_id = !fragment.id.is_empty() && gathered.id == fragment.id;
        let more_args = fragment.args.trim_start().starts_with('{');
        if fragment.is_anonymous() && gathered.call.is_bare() {
            return Some(at); // The real arguments behind a placeholder.
        }
        // Every call under one index: another id with a name, or arguments behind whole ones, or
        // another name, begin a new call.
        let other_name =
            named && !gathered.call.tool.is_empty() && gathered.call.tool != fragment.name;
        let is_new = other_id && named
            || !same_id && gathered.call.is_whole() && more_args
            || !same_id
                && other_name
                // Behind an id of its own it may be the rest of a name.
                && (gathered.call.is_whole()
                    || gathered.call.args.is_empty() && gathered.id.is_empty());
        (!is_new).then_some(at)
    }

    /// The calls in their order. Whole arguments that were glued to one another are calls of their
    /// own.
    pub(crate) fn finish(self) -> Result<Vec<GatheredCall>, ModelError> {
        let mut calls = Vec::new();
        for gathered in self.0 {
            let parts = glued(&gathered.call.args);
            if parts.is_empty() {
                calls.push(gathered);
                continue;
            }
            for (place, args) in parts.into_iter().enumerate() {
                let call = PartialCall { args, tool: gathered.call.tool.clone() };
                calls.push(match place {
                    0 => GatheredCall { call, ..gathered.clone() },
                    _ => GatheredCall { call, ..GatheredCall::default() },
                });
            }
            check("CALLS_MAX", calls.len(), CALLS_MAX)?;
        }
        Ok(calls)
    }
}

/// `{…}{…}` as its objects; nothing where it is anything else. An empty one beside others is what some
/// servers begin or end with.
fn glued(args: &str) -> Vec<String> {
    if !args.trim_start().starts_with('{') {
        return Vec::new();
    }
    let args = with_exact_integers(args);
    let values = serde_json::Deserializer::from_str(&args).into_iter::<Value>();
    let objects = values.map(|value| value.ok().filter(Value::is_object).map(|v| v.to_string()));
    let mut objects = objects.collect::<Option<Vec<_>>>().unwrap_or_default();
    if objects.len() < 2 {
        return Vec::new();
    }
    if objects.iter().any(|args| args != "{}") {
        objects.retain(|args| args != "{}");
    }
    objects
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check_calls(fragments: Value, expected: Expect) {
        let mut calls = GatheredCalls::default();
        for fragment in fragments.as_array().unwrap() {
            calls.add(CallFragment::of(fragment).unwrap()).unwrap();
        }
        let calls: Vec<_> = calls
            .finish()
            .unwrap()
            .into_iter()
            .map(|call| format!("{} {}({})", call.id, call.call.tool, call.call.args))
            .collect();
        expected.assert_eq(&calls.join(", "));
    }

    fn fragment(index: i64, id: &str, name: &str, args: &str) -> Value {
        json!({"index": index, "id": id, "function": {"name": name, "arguments": args}})
    }

    #[test]
    fn calls_are_told_apart_however_they_come() {
        // OpenAI: in fragments, two at once.
        check_calls(
            json!([
                fragment(0, "a", "f", ""),
                fragment(1, "b", "g", ""),
                fragment(1, "", "", "{\"y\":"),
                fragment(0, "", "", "{\"x\":1}"),
                fragment(1, "", "", "2}"),
            ]),
            expect![[r#"a f({"x":1}), b g({"y":2})"#]],
        );
        // Name and id in every fragment.
        check_calls(
            json!([
                fragment(0, "a", "f", "{\"x\""),
                fragment(0, "a", "f", ":1}"),
                fragment(0, "a", "f", "")
            ]),
            expect![[r#"a f({"x":1})"#]],
        );
        // A fresh id in every fragment, without a name.
        check_calls(
            json!([fragment(0, "a", "f", "{\"x\""), fragment(0, "b", "", ":1}")]),
            expect![[r#"a f({"x":1})"#]],
        );
        // Whole calls, all with index 0, told apart by their ids.
        check_calls(
            json!([fragment(0, "a", "f", "{}"), fragment(0, "b", "f", "{}")]),
            expect!["a f({}), b f({})"],
        );
        // Gemini: all with index 0 and no id.
        check_calls(
            json!([
                fragment(0, "", "f", "{\"x\":1}"),
                fragment(0, "", "f", "{\"x\":2}"),
                fragment(0, "", "g", "{}")
            ]),
            expect![[r#" f({"x":1}),  f({"x":2}),  g({})"#]],
        );
        // The same, with no name either, and with no arguments.
        check_calls(
            json!([
                fragment(0, "a", "f", ""),
                fragment(0, "", "", "{\"x\":1}"),
                fragment(0, "", "", "{\"x\":2}")
            ]),
            expect![[r#"a f({"x":1}),  f({"x":2})"#]],
        );
        check_calls(
            json!([fragment(0, "", "f", ""), fragment(0, "", "g", "")]),
            expect![" f(),  g()"],
        );
        // All in one string.
        check_calls(
            json!([fragment(0, "a", "f", "{\"x\":1} {\"x\":2}")]),
            expect![[r#"a f({"x":1}),  f({"x":2})"#]],
        );
        // Without an index, by id.
        check_calls(
            json!([
                {"id": "a", "function": {"name": "f", "arguments": "{\"x\""}},
                {"id": "b", "function": {"name": "g", "arguments": "{\"y\""}},
                {"id": "a", "function": {"arguments": ":1}"}},
                {"id": "b", "function": {"name": "g", "arguments": ":2}"}},
            ]),
            expect![[r#"a f({"x":1}), b g({"y":2})"#]],
        );
        // Without an index and an id.
        check_calls(
            json!([
                {"function": {"name": "f", "arguments": "{\"x\""}},
                {"function": {"arguments": ":1}"}},
                {"function": {"name": "f", "arguments": {"x": 2}}},
            ]),
            expect![[r#" f({"x":1}),  f({"x":2})"#]],
        );
        // Whatever the index is.
        check_calls(
            json!([
                {"index": -1, "id": "a", "function": {"name": "f", "arguments": "{}"}},
                {"index": "1", "id": "b", "function": {"name": "g", "arguments": null}},
            ]),
            expect!["a f({}), b g()"],
        );
    }

    #[test]
    fn a_call_that_is_sent_twice_is_one_call() {
        let whole = || fragment(0, "a", "f", "{\"x\":1}");
        let once = || expect![[r#"a f({"x":1})"#]];
        check_calls(json!([whole(), whole()]), once());
        let begun = || [fragment(0, "a", "f", "{\"x\""), fragment(0, "", "", ":1}")];
        let [first, second] = begun();
        check_calls(json!([first, second, whole()]), once());
        for again in [
            fragment(0, "", "f", "{\"x\":1}"),
            fragment(0, "", "", "{\"x\":1}"),
            fragment(1, "a", "f", "{\"x\":1}"),
            fragment(0, "a", "", "{\"x\":1}"),
            fragment(0, "a", "f", "{}"),
            json!({"function": {"arguments": "{\"x\":1}"}}),
        ] {
            check_calls(json!([whole(), again]), once());
        }
        // Fragments that each repeat all so far.
        check_calls(
            json!([
                fragment(0, "a", "f", "{"),
                fragment(0, "a", "f", "{\"x\":"),
                fragment(0, "a", "f", "{\"x\":1}")
            ]),
            once(),
        );
    }

    #[test]
    fn placeholders_and_shifted_fragments_are_put_in_their_place() {
        let once = || expect![[r#"a f({"x":1})"#]];
        for placeholder in [json!("{}"), json!({}), json!("null"), json!(null)] {
            let named =
                json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": placeholder}});
            for [id, name] in [["", ""], ["a", ""], ["a", "f"]] {
                check_calls(json!([named, fragment(0, id, name, "{\"x\":1}")]), once());
            }
            check_calls(
                json!([named, fragment(0, "", "", "{\"x\""), fragment(0, "", "", ":1}")]),
                once(),
            );
        }
        // The arguments under the next index, and fragments of nothing.
        check_calls(
            json!([
                fragment(0, "a", "f", ""),
                fragment(1, "", "", ""),
                fragment(1, "", "", "{\"x\""),
                fragment(1, "", "", ":1}"),
                fragment(2, "", "", ""),
            ]),
            once(),
        );
        // A name in pieces, or repeated.
        for id in ["", "a"] {
            check_calls(
                json!([
                    fragment(0, "a", "get_", ""),
                    fragment(0, id, "weather", ""),
                    fragment(0, id, "", "{}"),
                ]),
                expect!["a get_weather({})"],
            );
            check_calls(
                json!([fragment(0, "a", "go", ""), fragment(0, id, "go", "{}")]),
                expect!["a go({})"],
            );
        }
    }

    #[test]
    fn an_index_is_a_label_and_no_count() {
        check_calls(json!([fragment(3_000_000, "a", "f", "{}")]), expect!["a f({})"]);
        assert_eq!(CallFragment::of(&json!("x")), None);
    }
}
