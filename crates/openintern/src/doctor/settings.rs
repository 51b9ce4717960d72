//! What is configured soundly, each value by itself, and yet will not do what somebody expects of it.

use std::collections::BTreeSet;

use agent::settings::AgentSettings;
use clap::CommandFactory;
use model::settings::SILENCE_MS;
use protocol::tool::Approval;

use super::Check;
use crate::{
    cli::Cli,
    config::{AuthMode, Config, Environment, fault::nearest},
    exit::{Exit, Failure},
    listen::ListenAddress,
    node,
};

/// Variables of ours that no flag has.
const OTHER_VARIABLES: &[&str] = &[
    "OPENINTERN_LOG",
    "OPENINTERN_API_KEY",
    "OPENINTERN_MIGRATE_URL",
    "OPENINTERN_EMBEDDING",
    "OPENINTERN_MEMORY_AFTER_RUN",
];

/// What is odd, and what to do about it.
type Oddity = (String, String);

/// `tools` are those that MCP servers offer; none where that is not known.
pub(super) async fn oddities(
    config: &Config,
    tools: Option<&[String]>,
    environment: &Environment,
) -> Vec<Check> {
    let mut checks: Vec<_> = access(config).await.into_iter().collect();
    let odd = pointless_silences(config)
        .into_iter()
        .chain(calls_longer_than_runs(config))
        .chain(tools.into_iter().flat_map(|tools| unmatched_patterns(config, tools)))
        .chain(denied_tools(config))
        .chain(prices(config))
        .chain(unknown_variables(environment));
    checks.extend(odd.map(|(found, fix)| Check::odd("settings", found, fix)));
    checks
}

/// Whether `serve` and `dev` would start at all.
async fn access(config: &Config) -> Option<Check> {
    let server = &config.server;
    let missing = match ListenAddress::find(&server.host, server.port).await {
        Err(failure) => return Some(Check::bad("auth", failure)),
        Ok(place) => place.missing_auth(server.auth).or_else(|| config.missing_identity()),
    };
    if let Some(missing) = missing {
        let failure =
            Failure::new(Exit::Failed, format!("no server would start without {missing}"));
        let hint = "set `server.auth` to `keys` or `jwt`, or `server.host` to `127.0.0.1`";
        return Some(Check::bad("auth", failure.hint(hint)));
    }
    let is_idle = server.auth != AuthMode::None && !server.allowed_hosts.is_empty();
    is_idle.then(|| {
        let found = "`server.allowed_hosts` has no effect: with authentication any `Host` will do";
        Check::odd("auth", found, "leave it out")
    })
}

fn pointless_silences(config: &Config) -> Vec<Oddity> {
    let mut odd = Vec::new();
    for (name, provider) in &config.model.providers {
        let total = provider.total_timeout_ms;
        for (key, value) in [
            ("first_byte_timeout_ms", provider.first_byte_timeout_ms),
            ("idle_timeout_ms", provider.idle_timeout_ms),
        ] {
            if value != SILENCE_MS && value > total {
                let found = format!(
                    "`model.providers.{name}.{key}` = {value} has no effect: \
                     `total_timeout_ms` = {total} ends the call before"
                );
                odd.push((found, "raise `total_timeout_ms`, or lower the other".into()));
            }
        }
    }
    odd
}

fn calls_longer_than_runs(config: &Config) -> Vec<Oddity> {
    let of_servers = config.mcp_servers.iter().map(|(name, server)| {
        (format!("`mcp_servers.{name}.call_timeout_ms`"), server.call_timeout.as_millis())
    });
    let of_builtins = u128::from(config.worker.tool_timeout_ms);
    let calls = of_servers.chain([("`worker.tool_timeout_ms`".into(), of_builtins)]);
    let mut odd = Vec::new();
    for (key, call_ms) in calls {
        for (agent_id, agent) in &config.agents {
            let wall_s = agent.limits.max_wall_s.unwrap_or(u64::MAX);
            if call_ms > u128::from(wall_s) * 1000 {
                let found = format!(
                    "{key} = {call_ms} is longer than a run of `{agent_id}` may take: \
                     `max_wall_s` = {wall_s}"
                );
                odd.push((found, "lower it, or raise `max_wall_s`".into()));
            }
        }
    }
    odd
}

fn unmatched_patterns(config: &Config, of_servers: &[String]) -> Vec<Oddity> {
    let builtins = agent::tools::builtin_names();
    let known: Vec<&str> = builtins.iter().chain(of_servers).map(String::as_str).collect();
    let mut odd = Vec::new();
    for (agent_id, agent) in &config.agents {
        for pattern in agent.tools.iter().flatten() {
            let alone =
                AgentSettings { tools: Some(vec![pattern.clone()]), ..AgentSettings::default() };
            if !known.iter().any(|tool| alone.may_call(tool)) {
                let near = nearest(pattern.trim_end_matches('*'), &known).unwrap_or_default();
                odd.push((
                    format!("`agents.{agent_id}.tools`: `{pattern}` fits none of the tools"),
                    format!("did you mean `{near}`? `openintern tools` lists them"),
                ));
            }
        }
    }
    odd
}

fn denied_tools(config: &Config) -> Vec<Oddity> {
    let mut odd = Vec::new();
    for (name, server) in &config.mcp_servers {
        for (tool, _) in server.tools.iter().filter(|(_, it)| it.approval != Approval::Never) {
            let found = format!("the tool `{tool}` of `{name}` is denied whenever it is called");
            let fix = "nobody can be asked yet: set its `approval` to `never`, or leave the tool \
                       out of the agents' `tools`";
            odd.push((found, fix.into()));
        }
    }
    odd
}

/// A bound on money bounds nothing where calls count as free.
fn prices(config: &Config) -> Vec<Oddity> {
    let Ok(models) = node::models(config) else { return Vec::new() };
    let of_day = config.limits.budget().cost_usd;
    let bounded =
        config.agents.values().filter(|agent| agent.limits.max_cost_usd.or(of_day).is_some());
    let lists = bounded.filter_map(|agent| models.resolve(None, agent.model.as_ref()).ok());
    let asked = lists.flat_map(|list| list.iter().cloned().collect::<Vec<_>>());
    let free = asked.filter(|model| model.provider != "demo" && models.price(model).is_none());
    let free: BTreeSet<String> = free.map(|model| model.to_string()).collect();
    let free = free.into_iter().map(|model| {
        let found = format!("`{model}` has no price, so no bound on money holds for it");
        (found, format!("set `model.prices.\"{model}\"`"))
    });
    let providers: BTreeSet<_> = models.providers().into_iter().map(|it| it.name).collect();
    let is_stray = |pattern: &&String| {
        let provider = pattern.split('/').next().unwrap_or_default();
        !provider.ends_with('*') && !providers.contains(provider)
    };
    let stray = config.model.prices.keys().filter(is_stray).map(|pattern| {
        let fix = "a price stands under `<provider>/<model>`, with an optional `*` at the end";
        (format!("`model.prices.\"{pattern}\"` fits no provider"), fix.to_owned())
    });
    free.chain(stray).collect()
}

/// A variable that nobody reads is most likely a misspelt one.
fn unknown_variables(environment: &Environment) -> Vec<Oddity> {
    let mut known: BTreeSet<String> = OTHER_VARIABLES.iter().map(|&name| name.into()).collect();
    variables_of_flags(&Cli::command(), &mut known);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let is_single =
        |name: &&str| name.starts_with("OPENINTERN_") && !name.starts_with("OPENINTERN__");
    let unknown = environment.names().filter(is_single).filter(|name| !known.contains(name));
    let told = unknown.map(|name| {
        let near = nearest(name, &known).unwrap_or_default();
        let fix = format!("did you mean `{near}`? A key is `OPENINTERN__<TABLE>__<KEY>`");
        (format!("nobody reads the variable `{name}`"), fix)
    });
    told.collect()
}

fn variables_of_flags(command: &clap::Command, found: &mut BTreeSet<String>) {
    let names = command.get_arguments().filter_map(|flag| flag.get_env()?.to_str());
    found.extend(names.map(str::to_owned));
    command.get_subcommands().for_each(|command| variables_of_flags(command, found));
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::config::parse;

    async fn check(text: &str, variables: &[(&str, &str)], expected: Expect) {
        let environment = Environment::of(variables);
        let config = parse(text, None, &environment).unwrap();
        let tools = ["files__read".to_owned()];
        let checks = oddities(&config, Some(&tools), &environment).await;
        let lines = checks.into_iter().map(|check| {
            format!("{:?} {}: {}; {}", check.state, check.part, check.found, check.fix.unwrap())
        });
        expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[tokio::test]
    async fn a_usual_configuration_is_not_odd() {
        check("", &[], expect![""]).await;
        check(
            "[agents.main]\ntools = ['memory_*', 'read_file', 'files__*', '*']",
            &[("OPENINTERN_MODEL", "demo/paced"), ("OPENINTERN__SERVER__PORT", "1")],
            expect![""],
        )
        .await;
        check("[model.providers.openai]\ntotal_timeout_ms = 60000", &[], expect![""]).await;
    }

    #[tokio::test]
    async fn what_will_not_do_as_expected_is_said() {
        check("[server]\nhost = '0.0.0.0'", &[], expect![[r#"Bad auth: no server would start without `auth`: with `auth = "none"` anyone who reaches `0.0.0.0` could act for any tenant; set `server.auth` to `keys` or `jwt`, or `server.host` to `127.0.0.1`"#]]).await;
        check("[server]\nauth = 'jwt'", &[], expect![[r#"Bad auth: no server would start without the table `[auth.jwt]` of `auth = "jwt"` with its keys `issuer`, `audience`, `jwks_url (or jwks_file)`; set `server.auth` to `keys` or `jwt`, or `server.host` to `127.0.0.1`"#]]).await;
        check("[server]\nauth = 'keys'\nallowed_hosts = ['a']", &[], expect!["Odd auth: `server.allowed_hosts` has no effect: with authentication any `Host` will do; leave it out"]).await;
        let silent = "[model.providers.openai]\ntotal_timeout_ms = 60000\nidle_timeout_ms = 90000";
        check(silent, &[], expect!["Odd settings: `model.providers.openai.idle_timeout_ms` = 90000 has no effect: `total_timeout_ms` = 60000 ends the call before; raise `total_timeout_ms`, or lower the other"]).await;
        check("[agents.main.limits]\nmax_wall_s = 30", &[], expect!["Odd settings: `worker.tool_timeout_ms` = 60000 is longer than a run of `main` may take: `max_wall_s` = 30; lower it, or raise `max_wall_s`"]).await;
        check("[agents.main]\ntools = ['memroy_*', 'file__read']", &[], expect![[r#"
            Odd settings: `agents.main.tools`: `memroy_*` fits none of the tools; did you mean `memory_get`? `openintern tools` lists them
            Odd settings: `agents.main.tools`: `file__read` fits none of the tools; did you mean `files__read`? `openintern tools` lists them"#]]).await;
        let asks = "[mcp_servers.a]\ncommand = 'x'\n[mcp_servers.a.tools.t]\napproval = 'ask'";
        check(asks, &[], expect!["Odd settings: the tool `t` of `a` is denied whenever it is called; nobody can be asked yet: set its `approval` to `never`, or leave the tool out of the agents' `tools`"]).await;
        check(
            "[limits]\ncost_usd_per_org_per_day = 1\n[agents.main]\nmodel = 'own/x'\n\
             [model.providers.own]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:9'\n\
             [model.prices.\"olama/x\"]\ninput = 1\noutput = 1",
            &[],
            expect![[r#"
                Odd settings: `own/x` has no price, so no bound on money holds for it; set `model.prices."own/x"`
                Odd settings: `model.prices."olama/x"` fits no provider; a price stands under `<provider>/<model>`, with an optional `*` at the end"#]],
        )
        .await;
        check("", &[("OPENINTERN_MODLE", "x"), ("OPENINTERN_API_KEY", "oi_1")], expect!["Odd settings: nobody reads the variable `OPENINTERN_MODLE`; did you mean `OPENINTERN_MODEL`? A key is `OPENINTERN__<TABLE>__<KEY>`"]).await;
    }
}
