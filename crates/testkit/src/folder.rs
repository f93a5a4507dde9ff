use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context, Result};

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A temporary folder. It is removed with this value once the test has said that all is well; until then it is kept and
/// named, because the logs in it say what went wrong.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    is_clean: AtomicBool,
}

// === impl Folder ===

impl Folder {
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pangaea-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("could not make {}", path.display()))?;
        Ok(Self { path, is_clean: AtomicBool::new(false) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it, as text for arguments and variables.
    pub fn join(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// All is well: nobody will want to look into it.
    pub fn set_clean(&self) {
        self.is_clean.store(true, Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_clean.load(Ordering::Relaxed) && !std::thread::panicking() {
            // Left behind at worst, in a folder for temporary things.
            let _ = std::fs::remove_dir_all(&self.path);
        } else {
            eprintln!("kept for a look: {}", self.path.display());
        }
    }
}
