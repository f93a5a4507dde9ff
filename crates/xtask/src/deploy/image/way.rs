//! How a container is run: by a Docker engine, or by `chroot` into the folder that the image would be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::super::running::Running;
use super::super::{Context, Outcome};
use crate::process::{Signal, on_path, tied_to_us};
use crate::tools::{self, Engine};

const USER: u32 = 65_532;
const TAG: &str = "pangaea:check";
/// What the last stage copies from the first one.
const COPIED: &str = "COPY --from=build --chown=65532:65532 /image/ /";

/// How a container is run.
pub(super) enum Way {
    Docker(Engine),
    /// The image's folder.
    Chroot(PathBuf),
}

// === impl Way ===

impl Way {
    /// Builds the image by an engine; failing that, its folder.
    ///
    /// # Errors
    /// When the engine refuses to build, or the folder cannot be made.
    pub(super) fn find(
        ctx: &Context,
        dockerfile: &str,
        program: &Path,
        folder: &Path,
        outcome: &mut Outcome,
    ) -> Result<Self> {
        match tools::docker_engine() {
            Ok(engine) => {
                build(&engine, ctx, (TAG, dockerfile), program, folder, outcome)?;
                labels(&engine, outcome)?;
                Ok(Self::Docker(engine))
            }
            Err(error) => {
                outcome.missing.push(("docker-engine".to_owned(), format!("{error:#}")));
                let image = folder.join("root");
                assemble(program, &image)?;
                fs::create_dir_all(image.join("dev"))?;
                // So that nothing but the mount keeps the image's user from writing there.
                let _ = std::os::unix::fs::chown(&image, Some(USER), Some(USER));
                Ok(Self::Chroot(image))
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Chroot(_) => "chroot",
        }
    }

    /// A folder for /data, which belongs to the image's user.
    pub(super) fn data(&self, name: &str, folder: &Path) -> Result<PathBuf> {
        let data = folder.join(format!("data-{name}"));
        fs::create_dir_all(&data)?;
        std::os::unix::fs::chown(&data, Some(USER), Some(USER)).context("only root can give a folder away")?;
        Ok(data)
    }

    /// Runs the image with these arguments, on a read-only root and without any right.
    pub(super) fn start(
        &self,
        name: &str,
        words: &[&str],
        env: &[(&str, String)],
        data: Option<&Path>,
        folder: &Path,
    ) -> Result<Running> {
        let mut command = match self {
            Self::Docker(engine) => {
                let mut command = engine.docker();
                // On this machine's network: an engine of our own has no bridge.
                command.args([
                    "run",
                    "--rm",
                    "--network",
                    "host",
                    "--read-only",
                    "--tmpfs",
                    "/tmp",
                    "--cap-drop",
                    "ALL",
                ]);
                command.args(["--security-opt", "no-new-privileges"]);
                if let Some(data) = data {
                    command.arg("--volume").arg(format!("{}:/data", data.display()));
                }
                for (key, value) in env {
                    command.arg("--env").arg(format!("{key}={value}"));
                }
                command.arg(TAG);
                command
            }
            Self::Chroot(image) => {
                let mut command = chroot(image, data)?;
                command.env_clear().env("PANGAEA__DATABASE__URL", "sqlite:///data");
                command.envs(env.iter().map(|(key, value)| (*key, value)));
                command
            }
        };
        Running::start(name, command.args(words), folder)
    }
}

/// Mounts of its own, then the image's user in the image's folder. Without data /data stays what it is in the image. As every
/// container has one, there is a /dev: a static program asks /dev/urandom.
///
/// The shell stays and passes a signal on: `chroot` changes the user, which ends that a child hears of its parent's end.
fn chroot(image: &Path, data: Option<&Path>) -> Result<Command> {
    let unshare = on_path("unshare").ok_or_else(|| anyhow!("no `unshare` on PATH"))?;
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && mount -t tmpfs tmpfs \"$1/tmp\" \
        && mount --bind /dev \"$1/dev\" \
        && { [ -z \"$2\" ] || mount --bind \"$2\" \"$1/data\"; } && root=$1 && shift 2 \
        || exit 125; \
        chroot --userspec=65532:65532 --groups= \"$root\" /pangaea \"$@\" & child=$!; \
        trap 'kill -s TERM $child' TERM; wait $child; code=$?; \
        while kill -s 0 $child 2> /dev/null; do wait $child; code=$?; done; exit $code";
    let mut command = tied_to_us(&unshare, Signal::Term);
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(image).arg(data.unwrap_or(Path::new("")));
    Ok(command)
}

/// The folder that the Dockerfile's last stage copies.
pub(crate) fn assemble(program: &Path, image: &Path) -> Result<()> {
    for name in ["data", "tmp"] {
        fs::create_dir_all(image.join(name))?;
        // Without root the owner stays, and what runs then says what it cannot write.
        let _ = std::os::unix::fs::chown(image.join(name), Some(USER), Some(USER));
    }
    fs::copy(program, image.join("pangaea"))?;
    Ok(())
}

/// An engine that knows a registry builds the whole Dockerfile. One of our own knows none: the first stage's command has been
/// run on this machine, and the last stage is built of what it made.
///
/// # Errors
/// When the engine refuses.
pub(crate) fn build(
    engine: &Engine,
    ctx: &Context,
    (tag, dockerfile): (&str, &str),
    program: &Path,
    folder: &Path,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut command = engine.docker();
    command.args(["build", "--tag", tag, "--build-arg", "VERSION=0.0.0-check", "--build-arg", "REVISION=check"]);
    if engine.is_own() {
        let place = folder.join("build");
        assemble(program, &place.join("image"))?;
        fs::write(place.join("Dockerfile"), last_stage(dockerfile)?)?;
        command.arg(&place);
        outcome.missing.push((
            "docker-registry".to_owned(),
            "no base image can be pulled: the first stage's command was run without one".to_owned(),
        ));
    } else {
        command.arg("--file").arg(ctx.root.join("deploy/Dockerfile")).arg(&ctx.root);
    }
    let output = command.output().context("docker does not start")?;
    if !output.status.success() {
        bail!("docker build: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    outcome.passed.push("docker builds the image".to_owned());
    Ok(())
}

/// The Dockerfile from its last `FROM` on, with a folder of the build's in place of the first stage.
fn last_stage(dockerfile: &str) -> Result<String> {
    let at = dockerfile.rfind("\nFROM scratch\n").context("deploy/Dockerfile: the last stage is not FROM scratch")?;
    let stage = &dockerfile[at + 1..];
    ensure!(stage.contains(COPIED), "deploy/Dockerfile: the last stage lacks `{COPIED}`");
    Ok(stage.replace(COPIED, "COPY --chown=65532:65532 image/ /"))
}

/// What the image says of itself.
fn labels(engine: &Engine, outcome: &mut Outcome) -> Result<()> {
    let output = engine.docker().args(["image", "inspect", TAG]).output()?;
    let images: serde_json::Value = serde_json::from_slice(&output.stdout).context("docker image inspect")?;
    let config = &images[0]["Config"];
    let is_right = config["User"] == "65532:65532"
        && config["Labels"]["org.opencontainers.image.version"] == "0.0.0-check"
        && config["Labels"]["org.opencontainers.image.revision"] == "check";
    let bytes = images[0]["Size"].as_f64().unwrap_or_default();
    match is_right {
        true => outcome.passed.push(format!("the image has {:.1} MB, its labels, and the user 65532", bytes / 1e6)),
        false => outcome.failed.push(format!("deploy/Dockerfile: the image's user or labels are wrong: {config}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_is_built_of_a_folder() {
        let file = std::fs::read_to_string(crate::workspace::root().join("deploy/Dockerfile")).unwrap();
        let stage = last_stage(&file).unwrap();
        assert!(stage.starts_with("FROM scratch\n") && !stage.contains("--from="), "{stage}");
        assert!(last_stage("FROM scratch\nCOPY a b\n").is_err());
    }
}
