//! Every object is valid for a current Kubernetes and for the CRDs that are used, and has no field that those do not know.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::versions::{KUBERNETES, KUBERNETES_NEWEST, minor};
use super::{Context, Outcome, gotool, render};

pub(super) mod by_hand;
mod crds;
mod kubernetes;
mod strict;

const KUBECONFORM: &str = "v0.7.0";

/// Validates every overlay, for the oldest and the newest Kubernetes, and sees that what is wrong is refused.
///
/// # Errors
/// When the overlays or the results cannot be read.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for version in [KUBERNETES, KUBERNETES_NEWEST] {
        match Validator::find(ctx, minor(version)) {
            Ok(validator) => validator.judge(ctx, &mut outcome)?,
            Err((tool, error)) => outcome.missing.push((tool.to_owned(), format!("{error:#}"))),
        }
    }
    Ok(outcome)
}

/// What must be refused: a field that Kubernetes, a CRD, or the metadata of a CRD's object does not know, a value of a wrong
/// type, and a kind without a schema.
fn wrong() -> [(&'static str, Value); 5] {
    let api = "gateway.networking.k8s.io/v1";
    let gateway = |metadata: Value, spec: Value| json!({"apiVersion": api, "kind": "Gateway", "metadata": metadata, "spec": spec});
    let listener = json!({"name": "http", "port": 80, "protocol": "HTTP"});
    [
        (
            "an unknown field of Kubernetes",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"port": 80}}),
        ),
        (
            "a value of a wrong type",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"replicas": 3}}),
        ),
        (
            "an unknown field of a CRD",
            gateway(json!({"name": "a"}), json!({"gatewayClassName": "a", "listeners": [listener], "class": "a"})),
        ),
        (
            "an unknown field of metadata",
            gateway(json!({"name": "a", "label": {}}), json!({"gatewayClassName": "a", "listeners": [listener]})),
        ),
        ("an unknown kind", json!({"apiVersion": "example.org/v1", "kind": "Unknown", "metadata": {"name": "a"}})),
    ]
}

/// kubeconform, with the folders of its schemas.
#[derive(Debug)]
struct Validator {
    program: PathBuf,
    /// Templates of paths, as kubeconform takes them.
    locations: Vec<String>,
    /// Of Kubernetes' schemas.
    version: String,
    work: PathBuf,
}

// === impl Validator ===

impl Validator {
    fn judge(&self, ctx: &Context, outcome: &mut Outcome) -> Result<()> {
        let version = &self.version;
        for (name, wrong) in wrong() {
            match self.faults(&[wrong])?.is_empty() {
                true => outcome.failed.push(format!("the schemas of {version} do not refuse {name}: they became lax")),
                false => outcome.passed.push(format!("{name} is refused for Kubernetes {version}")),
            }
        }
        for overlay in render::overlays(ctx)? {
            let documents = match render::render(ctx, &overlay) {
                Ok(documents) => documents,
                Err(error) => {
                    outcome.failed.push(format!("{error:#}"));
                    continue;
                }
            };
            let faults = self.faults(&documents)?;
            if faults.is_empty() {
                let count = documents.len();
                outcome.passed.push(format!("{overlay}: {count} objects are valid for Kubernetes {version}"));
            }
            let told =
                faults.iter().map(|fault| format!("deploy/k8s/overlays/{overlay}: Kubernetes {version}: {fault}"));
            outcome.failed.extend(told);
        }
        Ok(())
    }

    fn find(ctx: &Context, minor: &str) -> Result<Self, (&'static str, anyhow::Error)> {
        let package = "github.com/yannh/kubeconform/cmd/kubeconform";
        let program =
            gotool::program(ctx, "kubeconform", package, KUBECONFORM).map_err(|error| ("kubeconform", error))?;
        let kubernetes = kubernetes::schemas(ctx, minor).map_err(|error| ("the schemas of Kubernetes", error))?;
        let crds = crds::schemas(ctx, &kubernetes).map_err(|error| ("the CRDs' schemas", error))?;
        let by_hand = by_hand::write(&ctx.root, &crds);
        let by_hand = by_hand.map_err(|error| ("deploy/checks/schemas.yaml", error))?;
        let of_crds = "{{ .Group }}_{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json";
        let locations = vec![
            format!("{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", kubernetes.folder.display()),
            format!("{}/{of_crds}", crds.display()),
            format!("{}/{of_crds}", by_hand.display()),
        ];
        let work = ctx.tools.join("kubeconform-work");
        Ok(Self { program, locations, version: kubernetes.version, work })
    }

    /// What is wrong with these objects.
    fn faults(&self, documents: &[Value]) -> Result<Vec<String>> {
        fs::create_dir_all(&self.work)?;
        let file = self.work.join(format!("{}.json", std::process::id()));
        // A list is taken apart by the validator.
        let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
        fs::write(&file, serde_json::to_vec(&list)?)?;
        let output = self.run(&file);
        let _ = fs::remove_file(&file);
        faults_of(&output?)
    }

    fn run(&self, file: &Path) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.program);
        command.args(["-strict", "-output", "json", "-verbose"]);
        for location in &self.locations {
            command.args(["-schema-location", location]);
        }
        let output = command.arg(file).output().context("kubeconform does not start")?;
        ensure!(!output.stdout.is_empty(), "kubeconform: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(output.stdout)
    }
}

/// Reads kubeconform's report. An object that it did not validate is a fault, too.
fn faults_of(report: &[u8]) -> Result<Vec<String>> {
    let report: Value = serde_json::from_slice(report).context("kubeconform reports what is no JSON")?;
    let resources = report.get("resources").and_then(Value::as_array).context("kubeconform reports no resources")?;
    ensure!(!resources.is_empty(), "kubeconform validated nothing");
    let text = |resource: &Value, key: &str| resource.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let wrong = resources.iter().filter(|resource| text(resource, "status") != "statusValid");
    let shown = wrong.map(|resource| {
        let errors = resource.get("validationErrors").and_then(Value::as_array).into_iter().flatten();
        let errors: Vec<_> = errors.map(|error| format!("{}: {}", text(error, "path"), text(error, "msg"))).collect();
        let what = if errors.is_empty() { text(resource, "msg") } else { errors.join("; ") };
        format!("{} {} ({}): {what}", text(resource, "kind"), text(resource, "name"), text(resource, "version"))
    });
    Ok(shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_report() {
        let report = json!({"resources": [
            {"kind": "Service", "name": "a", "version": "v1", "status": "statusValid", "msg": ""},
            {"kind": "Service", "name": "b", "version": "v1", "status": "statusInvalid", "msg": "long",
             "validationErrors": [{"path": "/spec", "msg": "additional properties 'port' not allowed"}]},
            {"kind": "Odd", "name": "c", "version": "x/v1", "status": "statusError", "msg": "could not find schema for Odd"},
        ]});
        let faults = faults_of(&serde_json::to_vec(&report).unwrap()).unwrap();
        assert_eq!(
            faults,
            [
                "Service b (v1): /spec: additional properties 'port' not allowed",
                "Odd c (x/v1): could not find schema for Odd"
            ]
        );
        assert!(faults_of(br#"{"resources": []}"#).is_err(), "nothing was validated");
    }
}
