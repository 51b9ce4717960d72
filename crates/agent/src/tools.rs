//! The tools of a run: the list of them, the check of arguments, and the call itself.
//!
//! A tool that fails is an answer for the model to read. Only a failure of ours is an error.

pub(crate) mod answer;
pub(crate) mod builtin;
mod files;
pub(crate) mod memories;
pub(crate) mod results;
mod trace;

use std::{
    collections::BTreeSet,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jsonschema::Validator;
use mcp::{
    call::{CallContext, CallError},
    servers::Servers,
};
use model::tool_list::ToolList;
use protocol::{
    name::OrgId,
    scope::Scope,
    tool::{Effect, LeftOutTool, Outcome, ToolInfo},
};
use serde_json::Value;
use store::{error::StoreError, failpoint};
use tokio_util::sync::CancellationToken;

use crate::{
    redactor::{Reach, Redactor},
    settings::AgentSettings,
};

use self::{
    answer::ToolAnswer,
    builtin::{Builtin, BuiltinCall, BuiltinParts, ToolCaller, ToolError},
};

/// Most faults of invalid arguments that the model is told at once.
const FAULTS_MAX: usize = 8;
/// Most sets of tools that are held: agents that may call the same ones share theirs.
const SETS_MAX: usize = 64;
/// Most lists of tools that are known to be kept: with more, all are asked about again.
const KEPT_MAX: usize = 10_000;

/// All tools of this process.
pub(crate) struct Toolbox {
    parts: BuiltinParts,
    mcp: Arc<Servers>,
    redactor: Redactor,
    timeout: Duration,
    builtins: Vec<Arc<Tool>>,
    /// The tools that MCP servers offered when they were last asked.
    offered: Mutex<Vec<OfferedTool>>,
    /// The sets that runs had of late.
    sets: Mutex<Vec<Arc<ToolSet>>>,
    /// The lists of tools that are kept in the database already, by organisation and digest.
    kept: Mutex<BTreeSet<(OrgId, String)>>,
}

/// A tool: what the model is told of it, how its arguments are checked, and how it is called.
pub(crate) struct Tool {
    pub(crate) info: ToolInfo,
    /// Compiled when the tool is first called; an error where its schema is none.
    validator: OnceLock<Result<Validator, String>>,
    call: ToolCall,
}

/// The tools of a run, and the list that its model is told.
pub(crate) struct ToolSet {
    tools: Vec<Arc<Tool>>,
    pub(crate) told: ToolList,
}

impl ToolSet {
    fn is_of(&self, tools: &[Arc<Tool>]) -> bool {
        let are_same = |(one, other): (&Arc<Tool>, &Arc<Tool>)| Arc::ptr_eq(one, other);
        self.tools.len() == tools.len() && self.tools.iter().zip(tools).all(are_same)
    }
}

impl Deref for ToolSet {
    type Target = [Arc<Tool>];

    fn deref(&self) -> &[Arc<Tool>] {
        &self.tools
    }
}

enum ToolCall {
    Builtin(BuiltinCall),
    Mcp,
}

/// A tool as its server describes it, and what was made of that.
struct OfferedTool {
    described: ToolInfo,
    tool: Arc<Tool>,
}

impl Tool {
    fn new(info: ToolInfo, call: ToolCall) -> Arc<Self> {
        Arc::new(Self { info, validator: OnceLock::new(), call })
    }

    /// Whether these arguments fit; if not, what is wrong with them, for the model to read.
    pub(crate) fn check(&self, args: &Value) -> Result<(), String> {
        if !args.is_object() {
            return Err("the arguments must be a JSON object".into());
        }
        let validator = self.validator.get_or_init(|| {
            jsonschema::validator_for(&self.info.input_schema).map_err(|error| error.to_string())
        });
        let validator = validator
            .as_ref()
            .map_err(|message| format!("the tool's own schema is broken: {message}"))?;
        let faults: Vec<_> = validator
            .iter_errors(args)
            .take(FAULTS_MAX)
            .map(|fault| {
                let at = fault.instance_path().to_string();
                if at.is_empty() { fault.to_string() } else { format!("{at}: {fault}") }
            })
            .collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(format!("the arguments do not match the tool's schema: {}", faults.join("; ")))
        }
    }
}

impl Toolbox {
    pub(crate) fn new(
        parts: BuiltinParts,
        mcp: Arc<Servers>,
        redactor: Redactor,
        timeout: Duration,
    ) -> Self {
        let builtins = builtins().into_iter();
        let builtins = builtins.map(|it| Tool::new(it.info, ToolCall::Builtin(it.call))).collect();
        Self {
            parts,
            mcp,
            redactor,
            timeout,
            builtins,
            offered: Mutex::default(),
            sets: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Every tool that a run could have now.
    pub(crate) fn all(&self) -> Vec<Arc<Tool>> {
        let mut tools = self.builtins.clone();
        tools.extend(self.mcp_tools());
        tools
    }

    /// Every tool that a run could have now, as the list of tools shows it.
    pub(crate) fn infos(&self) -> Vec<ToolInfo> {
        self.all().iter().map(|tool| tool.info.clone()).collect()
    }

    /// The tools that runs of this agent have now, by name: in every request in the same order.
    pub(crate) fn of(&self, agent: &AgentSettings) -> Arc<ToolSet> {
        let mut tools = self.all();
        tools.retain(|tool| agent.may_call(&tool.info.name));
        tools.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sets.iter().find(|set| set.is_of(&tools)) {
            return Arc::clone(known);
        }
        if sets.len() >= SETS_MAX {
            sets.clear();
        }
        let told = tools.iter().map(|tool| tool.info.clone()).collect();
        let set = Arc::new(ToolSet { tools, told });
        sets.push(Arc::clone(&set));
        set
    }

    /// Keeps a list of tools, for those who ask what a model was told. Once in this process, as a rule.
    pub(crate) async fn keep(&self, scope: &Scope, tools: &ToolList) -> Result<(), StoreError> {
        let digest = tools.digest();
        let key = (scope.org_id.clone(), digest.to_owned());
        if self.kept().contains(&key) {
            return Ok(());
        }
        self.parts.store.scoped(scope).keep_tool_set(digest, tools).await?;
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key);
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, BTreeSet<(OrgId, String)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tools that cannot be used, and why.
    pub(crate) fn left_out(&self) -> Vec<LeftOutTool> {
        let mut left_out = self.mcp.left_out();
        for tool in &mut left_out {
            self.redactor.clean_known(&mut tool.reason);
        }
        left_out
    }

    /// Calls a tool once. Its own failure is an answer; an error is ours.
    pub(crate) async fn call(
        &self,
        tool: &Tool,
        args: &Value,
        caller: &ToolCaller<'_>,
        cancel: &CancellationToken,
    ) -> Result<ToolAnswer, StoreError> {
        match tool.call {
            ToolCall::Builtin(call) => self.call_builtin(call, args, caller).await,
            ToolCall::Mcp => Ok(self.call_mcp(&tool.info, args, caller, cancel).await),
        }
    }

    async fn call_builtin(
        &self,
        call: BuiltinCall,
        args: &Value,
        caller: &ToolCaller<'_>,
    ) -> Result<ToolAnswer, StoreError> {
        match tokio::time::timeout(self.timeout, call(&self.parts, caller, args)).await {
            Ok(Ok(result)) => Ok(ToolAnswer::ok(result)),
            Ok(Err(ToolError::Told(message))) => Ok(ToolAnswer::error(message)),
            Ok(Err(ToolError::Ours(error))) => Err(error),
            Err(_) => Ok(ToolAnswer {
                result: format!("no answer within {} ms", self.timeout.as_millis()).into(),
                outcome: Outcome::Timeout,
                truncated: false,
            }),
        }
    }

    async fn call_mcp(
        &self,
        tool: &ToolInfo,
        args: &Value,
        caller: &ToolCaller<'_>,
        cancel: &CancellationToken,
    ) -> ToolAnswer {
        let context =
            CallContext { call_id: caller.call_id, timeout: None, cancel: cancel.clone() };
        failpoint::pass("before_send");
        match self.mcp.call(&tool.name, args, context).await {
            Ok(result) => ToolAnswer {
                outcome: if result.is_error { Outcome::Error } else { Outcome::Ok },
                result: result.content,
                truncated: result.truncated,
            },
            Err(error) => mcp_failure(&error, tool.effect),
        }
    }

    /// What the MCP servers offer now. A tool that did not change is reused.
    fn mcp_tools(&self) -> Vec<Arc<Tool>> {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.mcp.tools().into_iter().map(|described| {
            let known = offered.iter().find(|known| known.described == described);
            let tool = known.map_or_else(|| self.mcp_tool(&described), |known| known.tool.clone());
            OfferedTool { described, tool }
        });
        *offered = now.collect();
        offered.iter().map(|offered| offered.tool.clone()).collect()
    }

    /// A server may describe its tools with what it was configured with: that is masked.
    fn mcp_tool(&self, described: &ToolInfo) -> Arc<Tool> {
        let mut info = described.clone();
        self.redactor.clean_known(&mut info.description);
        self.redactor.clean_value(&mut info.input_schema, Reach::Known);
        Tool::new(info, ToolCall::Mcp)
    }
}

/// The names of the tools that every run has.
pub fn builtin_names() -> Vec<String> {
    builtins().into_iter().map(|builtin| builtin.info.name).collect()
}

/// The tools that every run has.
fn builtins() -> Vec<Builtin> {
    vec![
        memories::search(),
        memories::get(),
        memories::write(),
        files::read(),
        results::read(),
        trace::export(),
    ]
}

fn mcp_failure(error: &CallError, effect: Effect) -> ToolAnswer {
    let is_unknown = effect == Effect::AtMostOnce && error.outcome_is_unknown();
    let outcome = match error {
        CallError::Timeout { .. } => Outcome::Timeout,
        _ if is_unknown => Outcome::Unknown,
        _ => Outcome::Error,
    };
    let result = if is_unknown {
        format!("{error}. Whether the call took effect is unknown: do not assume either.")
    } else {
        error.to_string()
    };
    ToolAnswer { result: result.into(), outcome, truncated: false }
}
