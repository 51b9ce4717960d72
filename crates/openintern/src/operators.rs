//! `usage` and `nodes`: what operators look at.

use protocol::{
    time::Timestamp,
    usage::{NodeInfo, NodeList, UsageReport, UsageRow},
};

use crate::{
    cli::{Format, UsageArgs, UsageGroup, UsageSlot},
    client::ApiClient,
    exit::{Abort, Exit},
    output::{Output, say},
    render::duration,
};

/// How much of a time names a day, and how much an hour.
const DAY_CHARS: usize = "2026-11-22".len();
const HOUR_CHARS: usize = "2026-11-22T08".len();

pub(crate) async fn usage(
    client: &ApiClient,
    output: &mut Output,
    args: UsageArgs,
) -> Result<Exit, Abort> {
    let is_of_all = args.organisation || !args.by.is_of_a_scope();
    let path: &[&str] = match is_of_all {
        true => &["api", "usage", "organisation"],
        false => &["api", "usage"],
    };
    let mut query = vec![("by", args.by.name().to_owned()), ("per", args.per.name().to_owned())];
    query.extend(args.since.map(|time| ("since", time)));
    query.extend(args.until.map(|time| ("until", time)));
    let report: UsageReport = client.get(path, &query).await?;
    if args.format.json {
        output.json(&report.rows)?;
    } else {
        let rows: Vec<_> =
            report.rows.iter().map(|row| usage_row(row, args.by, args.per)).collect();
        let header =
            ["TIME", "NAME", "RUNS", "FAILED", "INPUT", "CACHED", "OUTPUT", "COST", "P50", "P95"];
        output.table(header, &rows)?;
    }
    if report.is_cut {
        say("older rows are left out (hint: ask for a shorter time, by --since and --until)");
    }
    Ok(Exit::Done)
}

fn usage_row(row: &UsageRow, by: UsageGroup, per: UsageSlot) -> [String; 10] {
    let chars = match per {
        UsageSlot::Day => DAY_CHARS,
        UsageSlot::Hour => HOUR_CHARS,
    };
    let took = |ms: Option<u64>| ms.map_or_else(String::new, duration);
    [
        row.at.to_string().chars().take(chars).collect(),
        row.name.clone().unwrap_or_else(|| format!("no {}", by.name())),
        row.runs.to_string(),
        row.failed.to_string(),
        row.input_tokens.to_string(),
        row.cached_share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
        row.output_tokens.to_string(),
        format!("${:.4}", row.cost_usd),
        took(row.duration_p50_ms),
        took(row.duration_p95_ms),
    ]
}

pub(crate) async fn nodes(
    client: &ApiClient,
    output: &mut Output,
    format: Format,
) -> Result<Exit, Abort> {
    let list: NodeList = client.get(&["api", "nodes"], &[]).await?;
    if format.json {
        return output.json(&list.nodes).map(|()| Exit::Done);
    }
    let rows: Vec<_> = list.nodes.iter().map(node_row).collect();
    output.table(["NODE", "STATE", "VERSION", "RUNS", "TOOLS", "STARTED", "LAST SEEN"], &rows)?;
    if rows.is_empty() {
        say("no node was seen in the last hour (hint: start one with `openintern serve`)");
    }
    Ok(Exit::Done)
}

fn node_row(node: &NodeInfo) -> [String; 7] {
    let time = |at: Timestamp| at.to_string();
    [
        node.node_id.clone(),
        if node.is_alive { "alive" } else { "silent" }.to_owned(),
        node.version.clone(),
        format!("{}/{}", node.running, node.concurrency),
        node.tool_count.to_string(),
        time(node.started_at),
        time(node.seen_at),
    ]
}
