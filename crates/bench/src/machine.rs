//! What the figures were measured on.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

const SYNCING: Duration = Duration::from_secs(2);
/// What Linux counts processor time in, whatever the kernel's own clock: `USER_HZ`.
const TICKS_PER_S: f64 = 100.0;
const SYNCED_BYTES: usize = 4_096;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Of the bench folder.
    pub(crate) filesystem: String,
    /// Appends of 4 KiB, each made durable before the next, a second: what one writer without group commit could do.
    pub(crate) syncs_per_s: f64,
    /// Other load before the bench began: the one-minute average.
    pub(crate) load_average: f64,
}

// === impl Machine ===

impl Machine {
    /// Looks at this machine and at `folder`, which is there.
    ///
    /// # Errors
    /// When the folder is in memory, where a durable write costs nothing, or cannot be written.
    pub(crate) fn look(folder: &Path) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("/proc/mounts")?;
        let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
        let filesystem = filesystem_of(&mounts, &folder).unwrap_or("unknown").to_owned();
        if matches!(filesystem.as_str(), "tmpfs" | "ramfs") {
            bail!(
                "{} is on {filesystem}, where a durable write costs nothing; name a folder on a disk with --dir",
                folder.display()
            );
        }
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&cpu, "model name").unwrap_or("unknown").to_owned(),
            memory_mib: kib(&memory, "MemTotal").unwrap_or(0) / 1_024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            filesystem,
            syncs_per_s: syncs_per_s(&folder)?,
            load_average: load.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
        })
    }
}

/// The resident memory of a process, in MiB.
///
/// # Errors
/// When the process is gone.
pub(crate) fn resident_mib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the store's memory")?;
    let kib = kib(&status, "VmRSS").context("the store's process does not say what memory it uses")?;
    Ok(kib as f64 / 1_024.0)
}

/// What a process has needed since its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// The most resident memory at any time, in MB (10^6 bytes).
    pub(crate) most_mb: f64,
    /// Time on the processors, its own and the kernel's for it, in seconds.
    pub(crate) cpu_s: f64,
}

/// # Errors
/// When the process is gone.
pub(crate) fn usage(process: u32) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the store's memory")?;
    let most_kib = kib(&status, "VmHWM").context("the store's process does not say what memory it has used")?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the store's time")?;
    let ticks = cpu_ticks(&stat).context("the store's process does not say what time it has used")?;
    Ok(Usage { most_mb: most_kib as f64 * 1_024.0 / 1e6, cpu_s: ticks as f64 / TICKS_PER_S })
}

/// `utime` and `stime` of proc(5): the 14th and the 15th field, of which the second, the name, may hold blanks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The type of the file system that a path lies on: that of the longest mount point above it, the last one mounted there.
pub(crate) fn filesystem_of<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(_), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next()) else { continue };
        // The kernel writes blanks in names as octal.
        let point = point.replace("\\040", " ");
        if path.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), kind));
        }
    }
    best.map(|(_, kind)| kind)
}

fn syncs_per_s(folder: &Path) -> Result<f64> {
    let path = folder.join("sync-probe");
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    let block = [0x5A_u8; SYNCED_BYTES];
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < SYNCING {
        file.write_all(&block).and_then(|()| file.sync_data()).with_context(|| path.display().to_string())?;
        count += 1;
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    fs::remove_file(&path).with_context(|| path.display().to_string())?;
    Ok(rate)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_what_it_has_needed() {
        assert_eq!(cpu_ticks("7 (a (b) c) S 1 7 7 0 -1 4194304 900 0 3 0 41 2 0 0 20 0 1"), Some(43));
        let own = usage(std::process::id()).unwrap();
        assert!(own.most_mb > 1.0 && own.cpu_s >= 0.0, "{own:?}");
    }
}
