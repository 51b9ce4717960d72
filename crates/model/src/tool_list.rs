//! The tools of a request. Many requests have the same ones: they share a list, and what follows from its
//! words is worked out once.

use std::{ops::Deref, sync::Arc};

use protocol::tool::ToolInfo;
use sha2::{Digest, Sha256};

use crate::tokens::estimate_tool;

/// Bytes of a digest: it only has to tell apart the lists of one organisation.
const DIGEST_BYTES: usize = 8;

/// What a model may call. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ToolList(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    tools: Vec<ToolInfo>,
    tokens: u64,
    digest: String,
}

impl ToolList {
    /// Tokens that a prompt has for them, estimated.
    pub fn tokens(&self) -> u64 {
        self.0.tokens
    }

    /// The same for lists that a model is told in the same words.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }
}

impl From<Vec<ToolInfo>> for ToolList {
    fn from(tools: Vec<ToolInfo>) -> Self {
        let tokens = tools.iter().map(estimate_tool).sum();
        let mut digest = Sha256::new();
        for tool in &tools {
            let ToolInfo { name, description, input_schema, .. } = tool;
            digest.update(format!("{name}\n{description}\n{input_schema}\n"));
        }
        let digest = digest.finalize();
        let digest = digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self(Arc::new(Told { tools, tokens, digest }))
    }
}

impl FromIterator<ToolInfo> for ToolList {
    fn from_iter<T: IntoIterator<Item = ToolInfo>>(tools: T) -> Self {
        Vec::from_iter(tools).into()
    }
}

impl Deref for ToolList {
    type Target = [ToolInfo];

    fn deref(&self) -> &[ToolInfo] {
        &self.0.tools
    }
}

impl PartialEq for ToolList {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}
