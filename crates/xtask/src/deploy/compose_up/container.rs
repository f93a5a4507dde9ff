//! A container of the project, as `docker inspect` tells of it.

use serde_json::Value;

use crate::deploy::objects::{list, number, text};

const SERVICE: &str = "/Config/Labels/com.docker.compose.service";
const STORE: &str = "pangaea:";

#[derive(Debug)]
pub(super) struct Container(Value);

// === impl Container ===

impl Container {
    pub(super) fn new(inspected: Value) -> Self {
        Self(inspected)
    }

    pub(super) fn service(&self) -> &str {
        text(&self.0, SERVICE)
    }

    /// Whether the store's own image runs in it.
    pub(super) fn is_of_the_store(&self) -> bool {
        text(&self.0, "/Config/Image").starts_with(STORE)
    }

    pub(super) fn exit_code(&self) -> Option<i64> {
        self.0.pointer("/State/ExitCode").and_then(Value::as_i64)
    }

    pub(super) fn environment(&self) -> impl Iterator<Item = &str> {
        list(&self.0, "/Config/Env").iter().filter_map(Value::as_str)
    }

    /// Where something is mounted, and the engine's folder that it is.
    pub(super) fn mounts(&self) -> impl Iterator<Item = (&str, &str)> {
        list(&self.0, "/Mounts").iter().map(|mount| (text(mount, "/Destination"), text(mount, "/Source")))
    }

    /// What is wrong with it, after it has been started: one that does its work and ends has ended well, and any other runs, was never
    /// started again by the engine, and is healthy if it is asked.
    pub(super) fn fault(&self, is_a_job: bool) -> Option<String> {
        let (status, code) = (text(&self.0, "/State/Status"), self.exit_code().unwrap_or_default());
        let health = text(&self.0, "/State/Health/Status");
        let restarts = number(&self.0, "/RestartCount").unwrap_or_default();
        let is_right = match is_a_job {
            true => status == "exited" && code == 0,
            false => status == "running" && ["", "healthy"].contains(&health),
        };
        let state = [status, health].join(" ");
        (!is_right || restarts > 0).then(|| {
            format!("{} is {}, with {code}, and was started again {restarts} times", self.service(), state.trim())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(state: &Value, restarts: u32) -> Container {
        let labels = json!({ "com.docker.compose.service": "order" });
        let config = json!({ "Labels": labels, "Image": "pangaea:local", "Env": ["A=b"] });
        let mounts = json!([{ "Destination": "/etc/x", "Source": "/volumes/x" }]);
        Container::new(json!({ "Config": config, "State": state, "RestartCount": restarts, "Mounts": mounts }))
    }

    #[test]
    fn a_container_that_was_started_again_has_a_fault() {
        let running = json!({ "Status": "running", "ExitCode": 0, "Health": { "Status": "healthy" } });
        assert_eq!(container(&running, 0).fault(false), None);
        assert_eq!(container(&json!({ "Status": "running" }), 0).fault(false), None);
        let ended = json!({ "Status": "exited", "ExitCode": 0 });
        assert_eq!(container(&ended, 0).fault(true), None);
        for (state, restarts, is_a_job) in [
            (&running, 1, false),
            (&ended, 0, false),
            (&ended, 1, true),
            (&json!({ "Status": "exited", "ExitCode": 1 }), 0, true),
            (&json!({ "Status": "running", "Health": { "Status": "starting" } }), 0, false),
        ] {
            let fault = container(state, restarts).fault(is_a_job);
            assert!(fault.is_some_and(|fault| fault.starts_with("order is ")), "{state}");
        }
    }

    #[test]
    fn it_tells_what_it_was_given() {
        let container = container(&json!({}), 0);
        assert!(container.is_of_the_store() && container.environment().eq(["A=b"]));
        assert!(container.mounts().eq([("/etc/x", "/volumes/x")]));
    }
}
