//! From a server's description of its tools to what a model may see. Nothing that a server says is
//! trusted.

use std::collections::BTreeMap;

use protocol::tool::{Effect, LeftOutTool, ToolInfo, ToolSource};
use rmcp::model::Tool;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    config::{NAME_MAX_CHARS, ServerConfig, is_tool_name},
    schema,
    text::{cut, printable},
};

/// Most tools of one server.
pub(crate) const TOOLS_MAX: usize = 256;
/// Longest description, in bytes.
pub(crate) const DESCRIPTION_MAX_BYTES: usize = 4 * 1024;
/// Digits of the hash that tells one alias from another.
const ALIAS_DIGITS: usize = 8;

/// The tools of one server that may be called.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Catalog {
    /// By full name, `<server>__<tool>` or its alias.
    pub(crate) offered: BTreeMap<String, Offered>,
    pub(crate) left_out: Vec<LeftOutTool>,
    /// Warnings about the configuration.
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
            let tool_name = printable(&tool.name, 128);
            if let Err(reason) = catalog.add(server, config, tool) {
                tracing::warn!(server, tool = tool_name, reason, "a tool is left out");
                catalog.left_out.push(LeftOutTool { name: full_name(server, &tool_name), reason });
            }
        }
        for warning in &catalog.warnings {
            tracing::warn!(server, "{warning}");
        }
        catalog
    }

    fn add(&mut self, server: &str, config: &ServerConfig, tool: Tool) -> Result<(), String> {
        if tool.name.is_empty() {
            return Err("it has no name".into());
        }
        let name = full_name(server, &tool.name);
        if !is_tool_name(&name) {
            return Err(format!("`{server}__…` leaves no room for its name"));
        }
        let is_known = self.offered.contains_key(&name);
        if !is_known && self.offered.len() >= TOOLS_MAX {
            return Err(format!("a server may offer {TOOLS_MAX} tools"));
        }
        let own_schema = Value::Object((*tool.input_schema).clone());
        let (input_schema, is_mended) = schema::mended(&own_schema)?;
        if is_mended {
            tracing::info!(server, tool = name, "a tool's input schema was mended");
        }
        let said = config.tools.get(tool.name.as_ref()).cloned().unwrap_or_default();
        let info = ToolInfo {
            description: printable(&tool.description.unwrap_or_default(), DESCRIPTION_MAX_BYTES),
            input_schema,
            effect: said.effect.unwrap_or(Effect::AtMostOnce),
            approval: said.approval,
            source: ToolSource::Mcp { server: server.to_owned() },
            name: name.clone(),
        };
        let offered = Offered { info, own_name: tool.name.into_owned() };
        match self.offered.get(&name) {
            // Said twice alike, such as on two pages, it is one tool.
            Some(known) if *known == offered => Ok(()),
            Some(_) => Err("it is offered twice, and not alike".into()),
            None => {
                self.offered.insert(name, offered);
                Ok(())
            }
        }
    }
}

/// `<server>__<tool>`. Where that is no name for a model, an alias that follows from the two names
/// alone, so that every node has the same.
fn full_name(server: &str, own_name: &str) -> String {
    let name = format!("{server}__{own_name}");
    if is_tool_name(&name) {
        return name;
    }
    let digest = Sha256::digest(own_name.as_bytes());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = hash.get(..ALIAS_DIGITS).unwrap_or(&hash);
    let mut alias: String =
        own_name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let room = NAME_MAX_CHARS.saturating_sub(server.len() + "__".len() + "_".len() + hash.len());
    cut(&mut alias, room);
    let alias = alias.trim_matches('_');
    match alias.is_empty() {
        true => format!("{server}__{hash}"),
        false => format!("{server}__{alias}_{hash}"),
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

    #[test]
    fn the_operator_decides_the_effect_not_the_server() {
        let catalog = catalog(json!([
            {"name": "other", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true},
             "description": format!("a\u{202e}b\u{0}c\n{}", "字".repeat(2000))},
            {"name": "known", "inputSchema": {"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {}}}},
        ]));
        assert_eq!((catalog.warnings, catalog.left_out), (vec![], vec![]));
        let known = &catalog.offered["srv__known"];
        assert_eq!((known.info.effect, known.own_name.as_str()), (Effect::ReadOnly, "known"));
        let other = &catalog.offered["srv__other"].info;
        assert_eq!(other.effect, Effect::AtMostOnce);
        assert!(other.description.starts_with("abc\n字") && other.description.len() <= 4096);
        assert_eq!(other.input_schema, json!({"type": "object", "properties": {}}));
    }

    #[test]
    fn a_name_that_models_cannot_say_has_an_alias() {
        let check = |name: &str, alias: Expect| {
            let catalog = catalog(json!([{"name": name, "inputSchema": {"type": "object"}}]));
            let (full, offered) = catalog.offered.first_key_value().unwrap();
            assert!(full.len() <= 64 && offered.own_name == name && offered.info.name == *full);
            alias.assert_eq(full);
        };
        check("plain-name_1", expect!["srv__plain-name_1"]);
        check("a.b", expect!["srv__a_b_2e7336dc"]);
        check("a/b", expect!["srv__a_b_c14cddc0"]);
        check("工具", expect!["srv__5ca6730d"]);
        check(
            &"x".repeat(60),
            expect!["srv__xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_42f2d973"],
        );
        check(
            &format!("{}.y", "x".repeat(200)),
            expect!["srv__xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_19c5bdfd"],
        );
    }

    #[test]
    fn what_is_left_out() {
        let refused = |name: &str, schema: Value, reason: Expect| {
            let catalog = catalog(json!([{"name": "known", "inputSchema": {"type": "object"}},
                                         {"name": name, "inputSchema": schema}]));
            assert_eq!(catalog.offered.len(), 1);
            let left_out = &catalog.left_out[0];
            reason.assert_eq(&format!("{}: {}", left_out.name, left_out.reason));
        };
        refused(
            "known",
            json!({"type": "object", "properties": {"a": {}}}),
            expect!["srv__known: it is offered twice, and not alike"],
        );
        refused("", json!({"type": "object"}), expect!["srv__: it has no name"]);
        refused(
            "t",
            json!({"type": "array"}),
            expect!["srv__t: its input schema is not of type `object`"],
        );
        refused("t", schema::absent(), expect!["srv__t: it has no input schema"]);
        let config = ServerConfig::new("x", [""; 0]);
        let tools = serde_json::from_value(json!([{"name": "a.b", "inputSchema": {}}])).unwrap();
        let catalog = Catalog::new(&"s".repeat(60), &config, tools);
        assert!(catalog.left_out[0].reason.ends_with("leaves no room for its name"));
    }

    #[test]
    fn a_tool_that_is_said_twice_alike_is_one_tool() {
        let known = || json!({"name": "known", "inputSchema": {"type": "object"}});
        let catalog = catalog(json!([known(), known()]));
        assert_eq!((catalog.offered.len(), catalog.left_out), (1, vec![]));
    }
}
