//! Values that must fit together, each good by itself. What is only odd is said by `doctor`.

use mcp::config::{SERVER_NAME_RULE, is_server_name};

use super::Config;
use crate::exit::{Exit, Failure};

/// Refuses the first pair that contradicts itself.
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    let worker = &config.worker;
    let size = config.limits.run_size();
    // A lease that is not renewed is given up after two thirds of it, and one renewal may be late.
    within(
        ("twice `worker.renew_ms`", worker.renew_ms * 2),
        ("`worker.lease_ms`", worker.lease_ms),
    )?;
    within(
        ("`limits.step_results_bytes`", size.step_results_bytes as u64),
        ("`limits.run_bytes`", size.run_bytes),
    )?;
    match config.mcp_servers.keys().find(|name| !is_server_name(name)) {
        None => Ok(()),
        Some(name) => {
            let problem = format!("`mcp_servers.{name:?}` cannot be the name of a server");
            Err(Failure::new(Exit::Usage, problem).hint(SERVER_NAME_RULE))
        }
    }
}

fn within(low: (&str, u64), high: (&str, u64)) -> Result<(), Failure> {
    if low.1 <= high.1 {
        return Ok(());
    }
    let problem = format!("{} is {}, more than {} = {}", low.0, low.1, high.0, high.1);
    Err(Failure::new(Exit::Usage, problem).hint("lower the first, or raise the second"))
}
