//! How much memory the machine has, within what a container may use, how much of it is ours, and how
//! many runs it carries. Known on Linux; elsewhere nothing is bounded by it.

use std::{fs, path::Path};

/// A worker counts on half of the memory: its database may be beside it.
const PART: u64 = 2;
/// Memory of a run in hand, as a place is counted: a window of its conversation and its connection,
/// several times over. Few need as much, and one may need more, so it is looked at besides.
const RUN_BYTES: u64 = 1024 * 1024;
/// Places of a worker, whatever its memory. Source: bench/README.md, "Many runs at once".
const PLACES_MIN: u64 = 64;
const PLACES_MAX: u64 = 10_000;

/// How many runs the memory carries.
pub(crate) fn places() -> u32 {
    memory_bytes().map_or(agent::settings::CONCURRENCY, places_of)
}

fn places_of(memory_bytes: u64) -> u32 {
    let places = (memory_bytes / PART / RUN_BYTES).clamp(PLACES_MIN, PLACES_MAX);
    u32::try_from(places).unwrap_or(u32::MAX)
}

/// Whether this process has less than its part of the memory.
pub(crate) fn has_memory() -> bool {
    let ours = kib_of("/proc/self/status", "VmRSS");
    ours.zip(memory_bytes()).is_none_or(|(ours, all)| ours < all / PART)
}

/// Bytes of this machine, or of the smallest group (cgroup v2) that this process is in.
fn memory_bytes() -> Option<u64> {
    let machine = kib_of("/proc/meminfo", "MemTotal")?;
    Some(group_bytes().unwrap_or(machine).min(machine))
}

/// A line of `proc(5)`, `name: number kB`, in bytes.
fn kib_of(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(rest.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn group_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = Path::new("/sys/fs/cgroup").join(group);
    let of_group = |folder: &Path| -> Option<u64> {
        fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok() // Or `max`.
    };
    group.ancestors().filter_map(of_group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_for_each_two_mebibytes() {
        let gib = |number: u64| places_of(number * 1024 * 1024 * 1024);
        assert_eq!([0, 1, 2, 8, 64].map(gib), [64, 512, 1024, 4096, 10_000]);
    }

    #[test]
    fn this_machine_has_memory_left() {
        assert!(has_memory());
        assert!((64..=10_000).contains(&places()));
        if cfg!(target_os = "linux") {
            assert!(memory_bytes().is_some());
            assert!(kib_of("/proc/self/status", "VmRSS").is_some());
        }
        assert_eq!(kib_of("/proc/self/status", "NoSuchName"), None);
    }
}
