//! Images under the names of others, made of the same programs, for where no registry can be reached.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::image;
use crate::tools::Postgres;
use crate::workspace;

/// The user of the image `postgres`.
const POSTGRES: u32 = 70;

/// The root of an image to be, in a folder, and how the image is run.
#[derive(Debug)]
pub(crate) struct StandIn {
    name: String,
    root: PathBuf,
    config: Value,
}

// === impl StandIn ===

impl StandIn {
    /// Of these programs, each at its place and with the libraries that it is linked to.
    ///
    /// # Errors
    /// When one cannot be copied.
    pub(crate) fn of<P: AsRef<Path>>(folder: &Path, name: &str, programs: &[(&str, P)], config: Value) -> Result<Self> {
        let root = folder.join(name.replace(['/', ':'], "-"));
        let temporary = root.join("tmp");
        fs::create_dir_all(&temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777))?;
        for (at, program) in programs {
            copy(program.as_ref(), &root.join(at))?;
            copy_libraries(program.as_ref(), None, &root)?;
        }
        Ok(Self { name: name.to_owned(), root, config })
    }

    /// The store's own, as the Dockerfile's last stage makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn store(folder: &Path, name: &str, program: &Path, dockerfile: &str) -> Result<Self> {
        let none: [(&str, &Path); 0] = [];
        let made = Self::of(folder, name, &none, config_of(dockerfile)?)?;
        image::assemble(program, &made.root)?;
        Ok(made)
    }

    /// The server, with the few commands that a probe or a script in its image calls.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn nats(folder: &Path, name: &str, nats: &Path, busybox: &Path) -> Result<Self> {
        let server = "usr/local/bin/nats-server";
        let config = json!({ "Entrypoint": [format!("/{server}")], "Env": ["PATH=/usr/local/bin:/bin"] });
        let made = Self::of(folder, name, &[(server, nats), ("bin/busybox", busybox)], config)?;
        made.link(&["sh", "chmod", "chown", "wget"])?;
        Ok(made)
    }

    /// The server that the tests use, as Debian lays it out, behind a start like that of the image whose name it bears.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn postgres(folder: &Path, name: &str, postgres: &Postgres, busybox: &Path) -> Result<Self> {
        let made = Self::of(folder, name, &[("bin/busybox", busybox)], postgres_config(postgres)?)?;
        made.link(&["sh", "rm", "cat"])?;
        let root = &made.root;
        let (version, prefix) = debian_layout(postgres.bin())?;
        for part in ["lib", "share"] {
            let place = root.join("usr").join(part).join("postgresql");
            fs::create_dir_all(&place)?;
            let from = prefix.join(part).join("postgresql").join(version);
            workspace::run(Command::new("cp").arg("--recursive").arg("--dereference").arg(from).arg(&place))?;
        }
        for name in ["postgres", "initdb", "psql", "pg_ctl", "pg_isready"] {
            copy_libraries(&postgres.bin().join(name), postgres.libraries(), root)?;
        }
        // Debian's PostgreSQL reads the system's time zones.
        let zones = root.join("usr/share/zoneinfo");
        fs::create_dir_all(&zones)?;
        let from = ["/usr/share/zoneinfo/UTC", "/usr/share/zoneinfo/Etc"];
        workspace::run(Command::new("cp").arg("--recursive").arg("--dereference").args(from).arg(&zones))?;
        for (name, line) in [("passwd", "postgres:x:70:70::/:/bin/sh\n"), ("group", "postgres:x:70:\n")] {
            fs::create_dir_all(root.join("etc"))?;
            fs::write(root.join("etc").join(name), line)?;
        }
        for folder in ["var/lib/postgresql/data", "var/run/postgresql"] {
            made.give(folder, POSTGRES)?;
        }
        let entrypoint = root.join("bin/entrypoint");
        fs::write(&entrypoint, include_str!("stand_in/postgres-entrypoint.sh"))?;
        fs::set_permissions(&entrypoint, fs::Permissions::from_mode(0o755))?;
        Ok(made)
    }

    /// A folder that belongs to a user: a fresh volume mounted there inherits its owner.
    ///
    /// # Errors
    /// Without root.
    pub(crate) fn give(&self, folder: &str, user: u32) -> Result<()> {
        let folder = self.root.join(folder);
        fs::create_dir_all(&folder)?;
        chown(&folder, Some(user), Some(user)).context("only root can give a folder away")
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub(crate) fn add(&self, at: &str, file: &Path) -> Result<()> {
        copy(file, &self.root.join(at))
    }

    /// Commands that its busybox is.
    fn link(&self, commands: &[&str]) -> Result<()> {
        commands.iter().try_for_each(|name| Ok(symlink("busybox", self.root.join("bin").join(name))?))
    }

    /// Gives the image as `docker save` writes it: one layer, its configuration, and a list of both. Nothing of it stays here.
    ///
    /// # Errors
    /// When it cannot be written, or is not taken.
    pub(crate) fn load(self, take: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let Self { name, root, config } = self;
        let place = root.with_extension("archive");
        fs::create_dir_all(&place)?;
        let tar = |archive: &str, from: &Path, what: &[&str]| {
            workspace::run(
                Command::new("tar")
                    .arg("--create")
                    .arg("--file")
                    .arg(place.join(archive))
                    .arg("-C")
                    .arg(from)
                    .args(what),
            )
        };
        tar("layer.tar", &root, &["."])?;
        let sum = Command::new("sha256sum").arg(place.join("layer.tar")).output()?;
        let sum = String::from_utf8_lossy(&sum.stdout).split_whitespace().next().map(str::to_owned);
        let layer = format!("sha256:{}", sum.context("sha256sum says nothing")?);
        let about = json!({
            "architecture": architecture(), "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": [layer] },
        });
        fs::write(place.join("config.json"), about.to_string())?;
        let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
        fs::write(place.join("manifest.json"), manifest.to_string())?;
        tar("image.tar", &place, &["manifest.json", "config.json", "layer.tar"])?;
        take(&place.join("image.tar")).with_context(|| name.clone())?;
        fs::remove_dir_all(&place)?;
        Ok(fs::remove_dir_all(root)?)
    }
}

/// This machine's, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn postgres_config(postgres: &Postgres) -> Result<Value> {
    let (version, _) = debian_layout(postgres.bin())?;
    let path = format!("PATH=/usr/lib/postgresql/{version}/bin:/bin");
    let data = "PGDATA=/var/lib/postgresql/data".to_owned();
    // Libraries lie where they lay on this machine.
    let libraries = postgres.libraries().map(|folders| format!("LD_LIBRARY_PATH={folders}"));
    let env: Vec<_> = [path, data].into_iter().chain(libraries).collect();
    // SIGTERM would have the server wait until the last client is gone.
    Ok(json!({ "Entrypoint": ["/bin/entrypoint"], "Env": env, "StopSignal": "SIGINT", "User": "70:70" }))
}

/// `15` and `/usr` of `/usr/lib/postgresql/15/bin`.
fn debian_layout(bin: &Path) -> Result<(&str, &Path)> {
    let version = bin.parent().and_then(|folder| folder.file_name()?.to_str());
    let prefix = bin.ancestors().nth(4).filter(|prefix| bin.starts_with(prefix.join("lib/postgresql")));
    version.zip(prefix).ok_or_else(|| anyhow!("{} is not where Debian puts PostgreSQL", bin.display()))
}

fn copy(file: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    fs::copy(file, to).with_context(|| file.display().to_string())?;
    Ok(())
}

/// Copies what `ldd` lists to where it is on this machine. A static program has nothing.
fn copy_libraries(program: &Path, libraries: Option<&str>, root: &Path) -> Result<()> {
    let mut ldd = Command::new("ldd");
    if let Some(libraries) = libraries {
        ldd.env("LD_LIBRARY_PATH", libraries);
    }
    let output = ldd.arg(program).output()?;
    for library in listed(&String::from_utf8_lossy(&output.stdout)) {
        copy(Path::new(library), &root.join(library.trim_start_matches('/')))?;
    }
    Ok(())
}

/// The paths of lines as `libm.so.6 => /lib/libm.so.6 (0x7f…)` and `/lib64/ld-linux-x86-64.so.2 (0x7f…)`.
fn listed(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// What the Dockerfile's last stage says of how its image is run.
fn config_of(dockerfile: &str) -> Result<Value> {
    let at = dockerfile.rfind("\nFROM scratch\n").context("deploy/Dockerfile: the last stage is not FROM scratch")?;
    let stage = dockerfile[at..].replace("\\\n", " ");
    let mut config = json!({});
    for (word, rest) in stage.lines().filter_map(|line| line.split_once(' ')) {
        let list = || serde_json::from_str::<Value>(rest).with_context(|| format!("deploy/Dockerfile: {word} {rest}"));
        match word {
            "USER" => config["User"] = rest.trim().into(),
            "ENTRYPOINT" => config["Entrypoint"] = list()?,
            "CMD" => config["Cmd"] = list()?,
            "ENV" => config["Env"] = rest.split_whitespace().collect::<Vec<_>>().into(),
            "VOLUME" => config["Volumes"][rest.trim()] = json!({}),
            _ => {}
        }
    }
    ensure!(config["User"].is_string() && config["Entrypoint"].is_array(), "deploy/Dockerfile: no USER or ENTRYPOINT");
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_says_how_its_image_is_run() {
        let file = fs::read_to_string(workspace::root().join("deploy/Dockerfile")).unwrap();
        let config = config_of(&file).unwrap();
        assert_eq!(config["Entrypoint"], json!(["/pangaea"]));
        assert_eq!(config["User"], "65532:65532");
        assert!(config["Env"].as_array().unwrap().contains(&json!("PANGAEA__HTTP__LISTEN=0.0.0.0:8080")), "{config}");
        assert!(config_of("FROM scratch\n").is_err());
    }

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said =
            "\tlinux-vdso.so.1 (0x00007f)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(listed(said).collect::<Vec<_>>(), ["/lib/x/libm.so.6", "/lib64/ld.so.2"]);
        assert_eq!(listed("\tnot a dynamic executable\n").count(), 0);
    }

    #[test]
    fn debians_layout_has_a_version_and_a_prefix() {
        let (version, prefix) = debian_layout(Path::new("/x/usr/lib/postgresql/15/bin")).unwrap();
        assert_eq!((version, prefix), ("15", Path::new("/x/usr")));
        assert!(debian_layout(Path::new("/usr/local/bin")).is_err());
    }
}
