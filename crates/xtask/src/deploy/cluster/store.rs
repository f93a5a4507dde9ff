//! The store in the cluster, by the commands that deploy/README.md tells to type.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::node::Node;
use crate::deploy::Context;
use crate::deploy::load::Load;
use crate::deploy::objects::{list, text};
use crate::deploy::running::eventually;

pub(super) const NAMESPACE: &str = "pangaea";
/// A line with one of these is not run: it wants the Internet, a chart or a Minikube, which are not here, or a second terminal.
const SKIPPED: [&str; 8] =
    ["https://", "localhost:", "oci://", "minikube ", "docker build", "docker-env", "port-forward", "traefik/traefik"];

const SKUS: [&str; 5] = ["PLENTY-1", "PLENTY-2", "PLENTY-3", "PLENTY-4", "PLENTY-5"];
const SERVED_WITHIN: Duration = Duration::from_secs(120);

/// The cluster, the guide, and the store's program as a client.
pub(super) struct Store<'a> {
    pub(super) ctx: &'a Context,
    pub(super) node: &'a Node,
    guide: String,
    program: &'a Path,
    is_stocked: Cell<bool>,
}

// === impl Store ===

impl<'a> Store<'a> {
    pub(super) fn new(ctx: &'a Context, node: &'a Node, program: &'a Path) -> Result<Self> {
        let guide = ctx.root.join("deploy/README.md");
        let guide = fs::read_to_string(&guide).with_context(|| guide.display().to_string())?;
        // The guide asks the image for secrets; its one program says the same.
        let docker = node.folder().join("docker");
        fs::write(
            &docker,
            format!("#!/bin/sh\n# docker run --rm IMAGE …\nshift 3\nexec {} \"$@\"\n", program.display()),
        )?;
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ctx, node, guide, program, is_stocked: Cell::new(false) })
    }

    /// Runs the guide's block of commands that contains this.
    ///
    /// # Errors
    /// When there is no such block, or a command of it fails.
    pub(super) fn follow(&self, mark: &str) -> Result<String> {
        self.type_in(mark, self.block(mark)?)
    }

    /// The same, up to the first line with `end`, which is not run.
    ///
    /// # Errors
    /// The same, and when there is no such line.
    pub(super) fn follow_until(&self, mark: &str, end: &str) -> Result<String> {
        self.type_in(mark, self.until(mark, end)?)
    }

    /// The same, or the whole block without an `end`, with the shell functions that the block `first` defines.
    ///
    /// # Errors
    /// The same.
    pub(super) fn follow_with(&self, first: &str, mark: &str, end: Option<&str>) -> Result<String> {
        let commands = end.map_or_else(|| self.block(mark), |end| self.until(mark, end))?;
        self.type_in(mark, &format!("{}{commands}", functions(self.block(first)?)))
    }

    fn block(&self, mark: &str) -> Result<&str> {
        block(&self.guide, mark).with_context(|| format!("deploy/README.md has no commands with `{mark}`"))
    }

    fn until(&self, mark: &str, end: &str) -> Result<&str> {
        let block = self.block(mark)?;
        let lines = block.find(end).map(|at| block[..at].rfind('\n').map_or("", |line| &block[..=line]));
        lines.with_context(|| format!("deploy/README.md, `{mark}`: no `{end}` in the same commands"))
    }

    fn type_in(&self, mark: &str, block: &str) -> Result<String> {
        let script: String = commands(block)
            .filter(|line| {
                let is_skipped = SKIPPED.iter().any(|word| line.contains(word));
                println!("{} {line}", if is_skipped { "skipped:" } else { "$" });
                !is_skipped
            })
            .map(|line| line + "\n")
            .collect();
        let mut shell = self.node.command(Path::new("/bin/sh"))?;
        // Who enters a mount namespace begins at its root.
        shell
            .args(["-euc", &format!("cd \"$0\"\n{script}")])
            .arg(&self.ctx.root)
            .env("KUBECONFIG", self.node.kubeconfig());
        let output = shell.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "deploy/README.md, `{mark}`: {said}{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(said)
    }

    /// kubectl in the store's namespace.
    ///
    /// # Errors
    /// With what it says instead of a success.
    pub(super) fn kubectl(&self, words: &[&str]) -> Result<String> {
        let words: Vec<_> = ["--namespace", NAMESPACE].iter().chain(words).copied().collect();
        let said = self.node.kubectl().ask(&words, &[]);
        said.map_err(|error| anyhow!("kubectl {}: {error}", words[2..].join(" ")))
    }

    /// Objects of a kind, in the store's namespace.
    pub(super) fn get(&self, words: &[&str]) -> Result<Vec<Value>> {
        let words: Vec<_> = ["get"].iter().chain(words).chain(&["--output", "json"]).copied().collect();
        let answer: Value = serde_json::from_str(&self.kubectl(&words)?)?;
        Ok(list(&answer, "/items").to_vec())
    }

    /// Waits until every Deployment and StatefulSet has all its pods, of the newest kind. Gives how many there are.
    pub(super) fn wait_rolled_out(&self) -> Result<usize> {
        let sets = self.get(&["deployments,statefulsets"])?;
        for set in &sets {
            let name = format!("{}/{}", text(set, "/kind").to_lowercase(), text(set, "/metadata/name"));
            self.kubectl(&["rollout", "status", &name, "--timeout=4m"])?;
        }
        Ok(sets.len())
    }

    /// Once the gateway leads there, takes goods in, more than are ever ordered: the demo catalogue is sold out after some two
    /// thousand orders, and who then orders has neither a payment nor a parcel. From then on loads order these.
    pub(super) fn stock(&self, url: &str) -> Result<()> {
        self.is_stocked.set(false);
        self.wait_served(url)?;
        let staff = json!({ "email": "staff@demo.pangaea.example", "password": "demo-staff-password" });
        let session = self.post(&format!("{url}/v1/sessions"), None, &staff)?;
        let price = json!({ "amount": 199, "currency": "GBP" });
        let variant = |code: &&str| json!({ "code": code, "price": price, "stock": 1_000_000 });
        let variants: Vec<_> = SKUS.iter().map(variant).collect();
        let product = json!({ "name": "Plenty", "description": "Never sold out.", "categories": ["Tests"], "variants": variants });
        self.post(&format!("{url}/v1/products"), Some(text(&session, "/access_token")), &product)?;
        self.is_stocked.set(true);
        // Order hears of them by events.
        self.wait_served(url)
    }

    /// Waits until an order gets through.
    pub(super) fn wait_served(&self, url: &str) -> Result<()> {
        eventually(SERVED_WITHIN, || {
            let load = self.load(url, 1, 1)?;
            ensure!(load.all_confirmed(), "no order gets through {url}: {}", load.shown());
            Ok(())
        })
    }

    /// A Service's address.
    pub(super) fn address(&self, namespace: &str, service: &str) -> Result<String> {
        let words = ["get", "service", service, "--namespace", namespace, "--output", "json"];
        let answer = self.node.kubectl().ask(&words, &[]).map_err(|error| anyhow!("{service}: {error}"))?;
        Ok(text(&serde_json::from_str(&answer)?, "/spec/clusterIP").to_owned())
    }

    fn post(&self, url: &str, token: Option<&str>, body: &Value) -> Result<Value> {
        let (bearer, body) = (format!("Authorization: Bearer {}", token.unwrap_or_default()), body.to_string());
        let mut words = vec!["--header", "Content-Type: application/json", "--header", "Idempotency-Key: once"];
        words.extend(["--data", &body]);
        words.extend(token.is_some().then_some(["--header", &bearer]).into_iter().flatten());
        words.push(url);
        let said = self.curl(&words)?;
        let answer = serde_json::from_str::<Value>(&said).ok();
        // A problem's own status (RFC 9457).
        let answer = answer.filter(|answer| answer["status"].as_u64().is_none_or(|status| status < 400));
        answer.with_context(|| format!("POST {url} is answered with: {said}"))
    }

    /// A request from the node: what it is answered with.
    pub(super) fn curl(&self, words: &[&str]) -> Result<String> {
        let mut curl = self.node.command(Path::new("curl"))?;
        let output = curl.args(["--silent", "--max-time", "20"]).args(words).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a load; what is not accepted at once is told in its report.
    pub(super) fn start_load(&self, url: &str, orders: u32, rate: u32) -> Result<Child> {
        let mut command = self.node.command(self.program)?;
        command.args(["load", "--url", url, "--json", "--orders", &orders.to_string(), "--rate", &rate.to_string()]);
        if self.is_stocked.get() {
            command.args(SKUS.iter().flat_map(|code| ["--sku", code]));
        }
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// A load from its start to its end.
    pub(super) fn load(&self, url: &str, orders: u32, rate: u32) -> Result<Load> {
        Load::of(self.start_load(url, orders, rate)?)
    }
}

/// The block that contains the mark.
fn block<'a>(guide: &'a str, mark: &str) -> Option<&'a str> {
    let parts = guide.split("\n```");
    parts.filter_map(|part| part.strip_prefix("sh\n")).find(|block| block.contains(mark))
}

/// The definitions of functions alone, each to the line that ends with its brace.
fn functions(block: &str) -> String {
    let mut is_inside = false;
    let lines = block.lines().filter(|line| {
        let is_defined = is_inside || line.contains("() {");
        is_inside = is_defined && !line.ends_with("; }");
        is_defined
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Lines, those that go on in the next one joined.
fn commands(block: &str) -> impl Iterator<Item = String> {
    let joined = block.replace("\\\n", " ");
    joined.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_taken_out_of_a_block() {
        let block = "a\nf() { b \"\n  c\"; }\nd\ng() { e; }\nf 1\n";
        assert_eq!(functions(block), "f() { b \"\n  c\"; }\ng() { e; }\n");
        assert_eq!(functions("a\nb\n"), "");
    }

    #[test]
    fn a_block_is_found_by_what_is_in_it() {
        let guide = "text\n\n```sh\na \\\n  b\nc\n```\n\n```yaml\nd\n```\n\n```sh\ne\n```\n";
        assert_eq!(
            block(guide, "c").map(|block| commands(block).collect()),
            Some(vec!["a    b".to_owned(), "c".to_owned()])
        );
        assert_eq!(block(guide, "e"), Some("e"));
        assert_eq!(block(guide, "d"), None);
    }
}
