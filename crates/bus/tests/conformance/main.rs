//! What every bus must do, run over memory and over real nats-servers.

mod logs;
mod requests;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
