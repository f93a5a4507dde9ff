//! What the server must refuse: a check that accepts everything would be green for ever.

use anyhow::{Context as _, Result, ensure};

use super::pods;
use crate::deploy::kubernetes::Kubectl;
use crate::deploy::{Outcome, render};

/// Each with a word of the refusal in its first line: `# refused: <word>`.
const FIXTURES: [(&str, &str); 6] = [
    ("privileged-pod.yaml", include_str!("refused/privileged-pod.yaml")),
    ("unconfined-pod.yaml", include_str!("refused/unconfined-pod.yaml")),
    ("unknown-field.yaml", include_str!("refused/unknown-field.yaml")),
    ("unknown-field-of-a-route.yaml", include_str!("refused/unknown-field-of-a-route.yaml")),
    ("unknown-field-of-a-router.yaml", include_str!("refused/unknown-field-of-a-router.yaml")),
    ("selector-without-template.yaml", include_str!("refused/selector-without-template.yaml")),
];

/// Tries each of them.
///
/// # Errors
/// When a fixture cannot be read.
pub(super) fn check(kubectl: &Kubectl, outcome: &mut Outcome) -> Result<()> {
    pods::prepare(kubectl, &[])?;
    for (name, text) in FIXTURES {
        let reason = text.lines().next().and_then(|line| line.strip_prefix("# refused: "));
        let reason = reason.with_context(|| format!("{name}: its first line tells no reason"))?;
        let documents = render::documents(text)?;
        ensure!(documents.len() == 1, "{name}: one document is expected");
        match kubectl.apply(&[&documents[0]], true)? {
            Err(refusal) if refusal.contains(reason) => outcome.passed.push(format!("{name} is refused: {reason}")),
            Err(refusal) => outcome.failed.push(format!("{name}: refused, but not for `{reason}`: {refusal}")),
            Ok(()) => outcome.failed.push(format!("{name}: the server accepts what it must refuse ({reason})")),
        }
    }
    Ok(())
}
