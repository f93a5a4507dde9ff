//! What the figures were measured on.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

const SYNCING: Duration = Duration::from_secs(2);
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
