//! From what a server says of its tools to what a model may see. Nothing a server says is trusted.

use std::collections::BTreeMap;

use protocol::tool::{Effect, ToolInfo, ToolSource};
use rmcp::model::Tool;
use serde_json::Value;

use crate::{call::cut, config::ServerConfig};

/// Most tools of one server.
pub(crate) const TOOLS_MAX: usize = 256;
/// Longest description, in bytes.
pub(crate) const DESCRIPTION_MAX_BYTES: usize = 4 * 1024;
/// Largest input schema, in bytes of compact JSON.
pub(crate) const SCHEMA_MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting of an input schema.
pub(crate) const SCHEMA_MAX_DEPTH: usize = 32;
/// Longest name of a tool, its server's name included.
const NAME_MAX_CHARS: usize = 64;

/// The tools of one server that may be called.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Catalog {
    pub(crate) offered: BTreeMap<String, Offered>,
    /// Which tools were left out or misnamed, and why.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offered {
    pub(crate) info: ToolInfo,
    /// What the server itself calls it.
    pub(crate) own_name: String,
}

impl Catalog {
    pub(crate) fn new(server: &str, config: &ServerConfig, tools: Vec<Tool>) -> Self {
        let mut catalog = Self::default();
        for name in config.tools.keys() {
            if !tools.iter().any(|tool| tool.name == *name) {
                catalog.warnings.push(format!("tool `{name}` is configured but not offered"));
            }
        }
        for tool in tools {
            let own_name = printable(&tool.name, 128);
            if let Err(reason) = catalog.add(server, config, tool) {
                catalog.warnings.push(format!("tool `{own_name}` is left out: {reason}"));
            }
        }
        for warning in &catalog.warnings {
            tracing::warn!(server, "{warning}");
        }
        catalog
    }

    fn add(&mut self, server: &str, config: &ServerConfig, tool: Tool) -> Result<(), String> {
        let name = format!("{server}__{}", tool.name);
        if !is_tool_name(&name) {
            return Err(format!(
                "`<server>__<tool>` must be 1 to {NAME_MAX_CHARS} characters of `A-Z a-z 0-9 _ -`"
            ));
        }
        if self.offered.contains_key(&name) {
            return Err("it is offered twice".into());
        }
        if self.offered.len() >= TOOLS_MAX {
            return Err(format!("a server may offer {TOOLS_MAX} tools"));
        }
        let input_schema = Value::Object((*tool.input_schema).clone());
        check_schema(&input_schema)?;
        let said = config.tools.get(tool.name.as_ref()).cloned().unwrap_or_default();
        let info = ToolInfo {
            description: printable(&tool.description.unwrap_or_default(), DESCRIPTION_MAX_BYTES),
            input_schema,
            effect: said.effect.unwrap_or(Effect::AtMostOnce),
            approval: said.approval,
            source: ToolSource::Mcp { server: server.to_owned() },
            name: name.clone(),
        };
        self.offered.insert(name, Offered { info, own_name: tool.name.into_owned() });
        Ok(())
    }
}

/// Whether `<server>__<tool>` can be told apart again: no other server and tool make the same name.
pub(crate) fn is_server_name(name: &str) -> bool {
    is_tool_name(name) && !name.contains("__") && !name.ends_with('_')
}

/// The text without control and direction characters, which could hide a part of it from a person.
pub(crate) fn printable(text: &str, max_bytes: usize) -> String {
    let mut text: String =
        text.chars().filter(|&c| matches!(c, '\n' | '\t') || !hides(c)).collect();
    cut(&mut text, max_bytes);
    text
}

fn hides(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn is_tool_name(name: &str) -> bool {
    (1..=NAME_MAX_CHARS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn check_schema(schema: &Value) -> Result<(), String> {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err("its input schema is not of type `object`".into());
    }
    check_depth_and_references(schema, SCHEMA_MAX_DEPTH)?;
    if schema.to_string().len() > SCHEMA_MAX_BYTES {
        return Err(format!("its input schema is larger than {SCHEMA_MAX_BYTES} bytes"));
    }
    Ok(())
}

/// Recursion is bounded by the depth.
fn check_depth_and_references(schema: &Value, depth: usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("its input schema is nested deeper than {SCHEMA_MAX_DEPTH}"));
    };
    match schema {
        Value::Object(members) => {
            members.iter().try_for_each(|(key, value)| match (key.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target))
                    if !target.starts_with('#') =>
                {
                    Err(format!("its input schema refers to `{}`", printable(target, 128)))
                }
                _ => check_depth_and_references(value, depth),
            })
        }
        Value::Array(items) => {
            items.iter().try_for_each(|item| check_depth_and_references(item, depth))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn catalog(tools: Value) -> Catalog {
        let mut config = ServerConfig::new("x", [""; 0]);
        config.tools.insert(
            "known".into(),
            serde_json::from_value(json!({"effect": "read_only", "approval": "ask"})).unwrap(),
        );
        Catalog::new("srv", &config, serde_json::from_value(tools).unwrap())
    }

    fn refused(name: &str, schema: Value, reason: Expect) {
        let catalog = catalog(json!([{"name": "known", "inputSchema": {"type": "object"}},
                                     {"name": name, "inputSchema": schema}]));
        assert_eq!(catalog.offered.len(), 1);
        reason.assert_eq(&catalog.warnings.concat());
    }

    #[test]
    fn the_operator_decides_the_effect_not_the_server() {
        let catalog = catalog(json!([
            {"name": "other", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true},
             "description": format!("a\u{202e}b\u{0}c\n{}", "字".repeat(2000))},
            {"name": "known", "inputSchema": {"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {}}}},
        ]));
        assert_eq!(catalog.warnings, [""; 0]);
        let known = &catalog.offered["srv__known"];
        assert_eq!((known.info.effect, known.own_name.as_str()), (Effect::ReadOnly, "known"));
        let other = &catalog.offered["srv__other"].info;
        assert_eq!(other.effect, Effect::AtMostOnce);
        assert!(other.description.starts_with("abc\n字") && other.description.len() <= 4096);
    }

    #[test]
    fn what_is_left_out() {
        let object = || json!({"type": "object"});
        refused("known", object(), expect!["tool `known` is left out: it is offered twice"]);
        refused(
            "a.b",
            object(),
            expect![
                "tool `a.b` is left out: `<server>__<tool>` must be 1 to 64 characters of `A-Z a-z 0-9 _ -`"
            ],
        );
        refused(
            "工具",
            object(),
            expect![
                "tool `工具` is left out: `<server>__<tool>` must be 1 to 64 characters of `A-Z a-z 0-9 _ -`"
            ],
        );
        refused(
            &"x".repeat(60),
            object(),
            expect![
                "tool `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` is left out: `<server>__<tool>` must be 1 to 64 characters of `A-Z a-z 0-9 _ -`"
            ],
        );
        refused(
            "t",
            json!({}),
            expect!["tool `t` is left out: its input schema is not of type `object`"],
        );
        refused(
            "t",
            json!({"type": "array"}),
            expect!["tool `t` is left out: its input schema is not of type `object`"],
        );
        refused(
            "t",
            json!({"type": "object", "properties": {"a": {"items": [{"$ref": "https://evil.example/s"}]}}}),
            expect!["tool `t` is left out: its input schema refers to `https://evil.example/s`"],
        );
        let deep = (0..32).fold(json!({}), |inner, _| json!({"not": inner}));
        refused(
            "t",
            json!({"type": "object", "not": deep}),
            expect!["tool `t` is left out: its input schema is nested deeper than 32"],
        );
        let large = json!({"type": "object", "title": "x".repeat(SCHEMA_MAX_BYTES)});
        refused(
            "t",
            large,
            expect!["tool `t` is left out: its input schema is larger than 65536 bytes"],
        );
    }

    #[test]
    fn server_names_leave_no_doubt() {
        for name in ["a", "files-2", "my_files"] {
            assert!(is_server_name(name), "{name}");
        }
        for name in ["", "a__b", "a_", "a.b", "文件", &"x".repeat(65)] {
            assert!(!is_server_name(name), "{name}");
        }
    }
}
