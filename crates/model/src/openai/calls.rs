//! Assembles tool calls from fragments, however a server tells them apart.
//!
//! OpenAI gives each fragment an `index`, and the first one a name and an id. Other servers leave the
//! index out, give every call the index 0 or no id, or repeat name and id in each fragment.

use serde_json::Value;

use crate::{
    answer::PartialCall,
    error::ModelError,
    limits::{CALL_ARGS_MAX_BYTES, CALL_NAME_MAX_BYTES, CALLS_MAX, REASONING_MAX_BYTES, check},
};

/// Longest id of a call that is kept; a longer one is treated as absent.
const ID_MAX_BYTES: usize = 512;

/// One fragment of a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CallFragment {
    index: Option<usize>,
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
    index: usize,
    pub(crate) call: PartialCall,
    /// As the provider said it; empty where it gave none.
    pub(crate) id: String,
    pub(crate) extra: Value,
}

impl CallFragment {
    /// `None` for what is not a fragment.
    pub(crate) fn of(fragment: &Value) -> Result<Option<Self>, ModelError> {
        let Some(fields) = fragment.as_object() else { return Ok(None) };
        let index = match fields.get("index") {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let index = index.map(|index| {
            let index = usize::try_from(index).ok().filter(|index| *index < CALLS_MAX);
            index.ok_or(ModelError::Limit { limit: "CALLS_MAX", max: CALLS_MAX })
        });
        let own = Self {
            index: index.transpose()?,
            id: text(fields.get("id")).to_owned(),
            extra: fields.get("extra_content").cloned().unwrap_or_default(),
            ..Self::of_function(fields.get("function").unwrap_or(&Value::Null))
        };
        Ok(Some(own))
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
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

impl GatheredCalls {
    /// Adds a fragment to its call, or begins a new one.
    pub(crate) fn add(&mut self, fragment: CallFragment) -> Result<(), ModelError> {
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
                let index = fragment.index.unwrap_or(self.0.len());
                self.0.push(GatheredCall { index, call, ..GatheredCall::default() });
                self.0.len() - 1
            }
        };
        let Some(gathered) = self.0.get_mut(at) else { return Ok(()) };
        if gathered.id.is_empty() && fragment.id.len() <= ID_MAX_BYTES {
            gathered.id = fragment.id;
        }
        if !fragment.extra.is_null() {
            check("REASONING_MAX_BYTES", fragment.extra.to_string().len(), REASONING_MAX_BYTES)?;
            gathered.extra = fragment.extra;
        }
        let call = &mut gathered.call;
        if is_replaced(call, &fragment.name, &fragment.args) {
            call.args.clear();
        }
        if call.tool.is_empty() {
            // A name is sent whole; some servers repeat it in every fragment.
            check("CALL_NAME_MAX_BYTES", fragment.name.len(), CALL_NAME_MAX_BYTES)?;
            call.tool = fragment.name;
        }
        check("CALL_ARGS_MAX_BYTES", call.args.len() + fragment.args.len(), CALL_ARGS_MAX_BYTES)?;
        call.args.push_str(&fragment.args);
        Ok(())
    }

    /// The call that a fragment belongs to; `None` for a new one.
    fn call_of(&self, fragment: &CallFragment) -> Option<usize> {
        let named = !fragment.name.is_empty();
        let by_id = || {
            let is_same = |gathered: &GatheredCall| gathered.id == fragment.id;
            self.0.iter().rposition(is_same).filter(|_| !fragment.id.is_empty())
        };
        let by_index = |index: usize| self.0.iter().rposition(|gathered| gathered.index == index);
        let at = match fragment.index {
            Some(index) => by_index(index),
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
        // Every call under one index: another id with a name, or arguments behind whole ones, or
        // another name, begin a new call.
        let other_name =
            named && !gathered.call.tool.is_empty() && gathered.call.tool != fragment.name;
        let is_replaced = is_replaced(&gathered.call, &fragment.name, &fragment.args);
        let is_new = other_id && named
            || !same_id && gathered.call.is_whole() && more_args && !is_replaced
            || !same_id
                && other_name
                && (gathered.call.is_whole() || gathered.call.args.is_empty());
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

/// Some gateways begin a call with an empty object, and then stream its arguments.
fn is_replaced(call: &PartialCall, name: &str, more: &str) -> bool {
    name.is_empty() && call.args.trim() == "{}" && more.trim_start().starts_with('{')
}

/// `{…}{…}` as its objects; nothing where it is anything else. An empty one beside others is what some
/// servers begin or end with.
fn glued(args: &str) -> Vec<String> {
    if !args.trim_start().starts_with('{') {
        return Vec::new();
    }
    let values = serde_json::Deserializer::from_str(args).into_iter::<Value>();
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
            calls.add(CallFragment::of(fragment).unwrap().unwrap()).unwrap();
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
    fn an_index_beyond_the_bound_is_refused() {
        let far = json!({"index": 3_000_000, "function": {"name": "t"}});
        assert!(matches!(
            CallFragment::of(&far),
            Err(ModelError::Limit { limit: "CALLS_MAX", .. })
        ));
        assert_eq!(CallFragment::of(&json!("x")).unwrap(), None);
    }
}
