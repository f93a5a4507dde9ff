use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait::eventually;

/// How much of a log an error shows.
const TAIL_BYTES: u64 = 6_000;

/// A child that can be started, killed and started again. Killed on drop.
///
/// It gets a clean environment: what a developer has set must not change what a test sees.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    folder: PathBuf,
    user: Option<User>,
    /// Standard output and standard error, of all lives.
    log: PathBuf,
    child: Option<Child>,
}

/// A user of the system to run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What a program that has ended left.
#[derive(Clone, Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

// === impl Process ===

impl Process {
    /// `folder` is the working directory, and where the log is; see [`Process::work_in`].
    pub fn new(name: &str, program: &Path, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            folder: folder.to_owned(),
            user: None,
            log: folder.join(format!("{name}.log")),
            child: None,
        }
    }

    pub fn args(&mut self, args: &[&str]) -> &mut Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Another program with other arguments, from the next start on.
    pub fn replace(&mut self, program: &Path, args: &[&str]) -> &mut Self {
        self.program = program.to_owned();
        self.args.clear();
        self.args(args)
    }

    pub fn envs(&mut self, env: &[(String, String)]) -> &mut Self {
        self.env.extend_from_slice(env);
        self
    }

    /// Sets a variable from its next start on, or takes it away.
    pub fn set_variable(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        self.env.retain(|(known, _)| known != name);
        self.env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    pub(crate) fn run_as(&mut self, user: Option<User>) -> &mut Self {
        self.user = user;
        self
    }

    /// Gives it another working directory; the log stays where it is.
    pub fn work_in(&mut self, folder: &Path) -> &mut Self {
        self.folder = folder.to_owned();
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn arguments(&self) -> &[String] {
        &self.args
    }

    /// What it gets beside `PATH`.
    pub fn environment(&self) -> &[(String, String)] {
        &self.env
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it, or starts it again with the same arguments and environment.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("could not open {}", self.log.display()))?;
        let mut command = self.command();
        command.stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("could not start {}", self.program.display()))?);
        Ok(())
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end `within`.
    pub async fn run(mut self, within: Duration) -> Result<Output> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let path = |stream: &str| self.log.with_file_name(format!("{}-{number}.{stream}", self.name));
        let (stdout, stderr) = (path("stdout"), path("stderr"));
        let mut command = self.command();
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        self.child = Some(command.spawn().with_context(|| format!("could not start {}", self.program.display()))?);
        let what = format!("the end of `{} {}`", self.name, self.args.join(" "));
        let status = eventually(&what, within, async || self.ended()).await;
        let read = |path: &Path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (stdout, stderr) = (read(&stdout)?, read(&stderr)?);
        let status = status.with_context(|| format!("standard error so far:\n{stderr}"))?;
        Ok(Output { status, stdout, stderr })
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not know it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait().with_context(|| format!("waiting for {}", self.name))?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Whether it has been started and has not ended since.
    ///
    /// # Errors
    /// When the system does not know it.
    pub fn runs(&mut self) -> Result<bool> {
        self.ended()?;
        Ok(self.child.is_some())
    }

    /// # Errors
    /// When it has ended by itself: how, and the end of its log.
    pub fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => bail!("{} has ended by itself ({status}); its log ends:\n{}", self.name, self.log_tail()),
            None => Ok(()),
        }
    }

    /// SIGKILL. Returns once it is gone, so that its port and its locks are free.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { bail!("{} does not run", self.name) };
        child.kill().with_context(|| format!("could not kill {}", self.name))?;
        child.wait().with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// When it does not run or does not end `within`, with the end of its log.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let what = format!("the end of {} after SIGTERM", self.name);
        let ended = eventually(&what, within, async || self.ended()).await;
        ended.with_context(|| format!("its log ends:\n{}", self.log_tail()))
    }

    /// Sends a signal by its name without `SIG`, e.g. `STOP`.
    ///
    /// # Errors
    /// When it does not run, or the system refuses.
    pub fn signal(&self, name: &str) -> Result<()> {
        let Some(id) = self.id() else { bail!("{} does not run", self.name) };
        let sent = Command::new("kill").args(["-s", name, &id.to_string()]).status().context("kill")?;
        if !sent.success() {
            bail!("SIG{name} could not be sent to {}", self.name);
        }
        Ok(())
    }

    /// All it has written, in all its lives.
    pub fn log(&self) -> String {
        self.log_from(0)
    }

    /// How much it has written so far, for [`Process::log_from`].
    pub fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |about| about.len())
    }

    /// What it has written since then.
    pub fn log_from(&self, bytes: u64) -> String {
        self.read_log(bytes).unwrap_or_default()
    }

    /// The end of what it has written.
    pub fn log_tail(&self) -> String {
        let from = self.log_bytes().saturating_sub(TAIL_BYTES);
        self.read_log(from).unwrap_or_else(|error| error.to_string())
    }

    fn read_log(&self, from: u64) -> std::io::Result<String> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder).stdin(Stdio::null()).env_clear();
        #[expect(clippy::disallowed_methods, reason = "the child finds its own tools where this test does")]
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

// === impl Output ===

impl Output {
    /// # Errors
    /// When the status is not 0: both outputs.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{}\nstandard output:\n{}\nstandard error:\n{}", self.status, self.stdout, self.stderr)
    }

    /// # Errors
    /// When the status is 0: both outputs.
    pub fn failure(self) -> Result<Self> {
        if !self.status.success() {
            return Ok(self);
        }
        bail!("it should have failed\nstandard output:\n{}\nstandard error:\n{}", self.stdout, self.stderr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    #[tokio::test]
    async fn is_started_killed_and_started_again_and_tells_its_end() {
        let folder = Folder::new("process").unwrap();
        let mut process = Process::new("sleeper", Path::new("/bin/sh"), folder.path());
        process.args(&["-c", "echo up; exec sleep 60"]);
        process.start().unwrap();
        assert!(process.start().is_err(), "it runs already");
        let up = async || Ok((process.log().lines().count() == 1).then_some(()));
        eventually("the first life", Duration::from_secs(10), up).await.unwrap();
        process.must_run().unwrap();
        process.kill().unwrap();
        assert!(process.kill().is_err(), "it is gone");
        process.start().unwrap();
        let up = async || Ok((process.log().lines().count() == 2).then_some(()));
        eventually("the second life", Duration::from_secs(10), up).await.unwrap();
        let status = process.terminate(Duration::from_secs(10)).await.unwrap();
        assert!(!status.success());
        folder.set_clean();
    }

    #[tokio::test]
    async fn one_that_ends_by_itself_is_told_with_its_log() {
        let folder = Folder::new("process").unwrap();
        let mut process = Process::new("failing", Path::new("/bin/sh"), folder.path());
        process.args(&["-c", "echo the reason >&2; exit 3"]);
        process.start().unwrap();
        let error =
            eventually("its end", Duration::from_secs(10), async || Ok(process.must_run().err())).await.unwrap();
        assert!(error.to_string().contains("the reason"), "{error}");
        let mut process = Process::new("failing", Path::new("/bin/sh"), folder.path());
        process.args(&["-c", "echo said; echo complained >&2; exit 3"]);
        let output = process.run(Duration::from_secs(10)).await.unwrap().failure().unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("said\n", "complained\n"));
        folder.set_clean();
    }
}
