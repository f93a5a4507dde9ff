//! Groups of processes, which the kernel keeps outside of every namespace: whoever starts containers leaves some.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel keeps them. On the newer layout there is one hierarchy, else one for each controller.
const CGROUPS: &str = "/sys/fs/cgroup";

/// All groups below one of this name, in every hierarchy. Those in which nothing runs are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Groups(String);

// === impl Groups ===

impl Groups {
    /// What a run left that was killed, and in which nothing runs any more, is taken away first.
    pub(crate) fn named(name: &str) -> Self {
        let groups = Self(name.to_owned());
        groups.remove();
        groups
    }

    /// Where there is one, if there is any.
    pub(crate) fn place(&self) -> Option<PathBuf> {
        self.places().into_iter().find(|place| place.is_dir())
    }

    fn places(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(PathBuf::from(CGROUPS)).chain(hierarchies).map(|folder| folder.join(&self.0)).collect()
    }

    fn remove(&self) {
        self.places().iter().for_each(|place| remove(place));
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Groups are removed one by one, the innermost first. One that still has a process stays.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
