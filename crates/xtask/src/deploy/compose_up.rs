//! `docker compose up` on compose.yaml as it stands, in both profiles, by the commands that its head tells to type.
//!
//! The engine runs in namespaces of its own, so that neither its networks nor the published ports touch this machine. It reaches no
//! registry: under the names of the images stand the same programs, built of Go modules or taken from Debian. All of it is built
//! once, which takes long, so this check is run by name. What cannot be had is left out, and named.

use std::fs;

use anyhow::{Context as _, Result};

use self::host::Host;
use self::programs::Programs;
use self::project::Project;
use super::compose::{self, PROFILES};
use super::running::Folder;
use super::{Context, Outcome};

mod container;
mod host;
mod images;
mod programs;
mod project;
mod telemetry;
mod trials;

/// # Errors
/// When the engine does not start, or refuses an image.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let programs = match Programs::find(ctx, &mut outcome) {
        Ok(programs) => programs,
        Err(error) => {
            outcome.missing.push(("compose-up".to_owned(), format!("{error:#}")));
            return Ok(outcome);
        }
    };
    let dockerfile = fs::read_to_string(ctx.root.join("deploy/Dockerfile")).context("deploy/Dockerfile")?;
    let services = compose::services(ctx)?;
    let folder = Folder::make("compose-up")?;
    let host = Host::start()?;
    let absent = images::make(ctx, &host, (&programs, &dockerfile), &services, folder.path(), &mut outcome)?;
    for profile in PROFILES {
        let project = Project::new(ctx, &host, &programs, profile, (&services, &absent), folder.path())?;
        if let Err(error) = trials::all(&project, &mut outcome) {
            println!("{}", project.told());
            outcome.failed.push(format!("deploy/compose.yaml: {profile}: {error:#}"));
        }
        match project.down() {
            Ok(line) => outcome.passed.push(format!("{profile}: {line}")),
            Err(error) => outcome.failed.push(format!("deploy/compose.yaml: {profile}: {error:#}")),
        }
    }
    Ok(outcome)
}
