//! What processes have used, from `/proc`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// `/proc` counts in these on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What `/proc/PID/stat` says.
struct Stat {
    name: String,
    parent: u32,
    used: f64,
}

fn stat(pid: u32) -> Result<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The command's name stands in parentheses and may hold some itself.
    let (head, rest) = stat.rsplit_once(") ").context("a stat line")?;
    let name = head.split_once(" (").context("a name")?.1.to_owned();
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |at: usize| fields.get(at).context("a field");
    let ticks = |at: usize| -> Result<f64> { Ok(field(at)?.parse()?) };
    Ok(Stat { name, parent: field(1)?.parse()?, used: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND })
}

/// Seconds of processor time that the process has used.
///
/// # Errors
/// Where it is gone.
pub(crate) fn used(pid: u32) -> Result<f64> {
    Ok(stat(pid)?.used)
}

/// Bytes of memory that the process holds.
///
/// # Errors
/// Where it is gone.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(line.context("its memory")?.parse::<u64>()? * 1_024)
}

/// Seconds of processor time of the process and of those below it, by their ids; the trees below processes of other names
/// than `names` are left out.
///
/// # Errors
/// Where the system does not say.
pub(crate) fn below(pid: u32, names: &[&str]) -> Result<BTreeMap<u32, f64>> {
    let ids = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // One that has ended meanwhile is none of those that are asked for.
    let all: BTreeMap<u32, Stat> = ids.filter_map(|id| Some((id, stat(id).ok()?))).collect();
    let belongs = |stat: &Stat| names.contains(&stat.name.as_str());
    let mut found = BTreeMap::from([(pid, used(pid)?)]);
    loop {
        let more = all
            .iter()
            .filter(|(id, stat)| !found.contains_key(id) && found.contains_key(&stat.parent) && belongs(stat));
        let more: Vec<(u32, f64)> = more.map(|(id, stat)| (*id, stat.used)).collect();
        if more.is_empty() {
            return Ok(found);
        }
        found.extend(more);
    }
}
