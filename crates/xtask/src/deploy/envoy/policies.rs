//! Istio's `RequestAuthentication` and the `AuthorizationPolicy`s that refuse requests without a token.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::manifests::{Manifests, name_of};
use super::model::{Operation, Tokens, items, only, texts};

const GROUP: &str = "security.istio.io";

type Refused = BTreeMap<String, Vec<Operation>>;

/// How tokens are checked, and which requests of which module need one.
///
/// Policies that allow are by the identity of the caller's pod, which is mTLS and not HTTP; they are not tried here.
///
/// # Errors
/// When something is said that is not translated.
pub(super) fn read(manifests: &Manifests) -> Result<(Option<Tokens>, Refused)> {
    let mut tokens = None;
    for authentication in manifests.of_kind(GROUP, "RequestAuthentication") {
        let place = format!("RequestAuthentication {}", name_of(authentication));
        for rule in items(&authentication["spec"]["jwtRules"]) {
            ensure!(tokens.is_none(), "{place}: more than one issuer is not translated");
            tokens = Some(tokens_of(rule, &place)?);
        }
    }
    let mut refused = Refused::new();
    let denying = |policy: &&Value| policy["spec"]["action"] == "DENY";
    for policy in manifests.of_kind(GROUP, "AuthorizationPolicy").filter(denying) {
        let place = format!("AuthorizationPolicy {}", name_of(policy));
        only(&policy["spec"], &["selector", "action", "rules"], &place)?;
        let module = policy["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"].as_str();
        let module = module.with_context(|| format!("{place}: one that denies selects one module"))?;
        let operations = refused.entry(module.to_owned()).or_default();
        for rule in items(&policy["spec"]["rules"]) {
            operations.extend(operations_of(rule, &place)?);
        }
    }
    Ok((tokens, refused))
}

fn tokens_of(rule: &Value, place: &str) -> Result<Tokens> {
    only(rule, &["issuer", "audiences", "jwksUri", "forwardOriginalToken"], place)?;
    let uri = rule["jwksUri"].as_str().with_context(|| format!("{place}: no jwksUri"))?;
    let (host, path) = uri.strip_prefix("http://").and_then(|rest| rest.split_once('/')).with_context(|| {
        format!("{place}: {uri} is no http:// address with a path; within the mesh mTLS is the sidecars' matter")
    })?;
    let module = host.split(['.', ':']).next().unwrap_or(host).to_owned();
    Ok(Tokens {
        issuer: rule["issuer"].as_str().unwrap_or_default().to_owned(),
        audiences: texts(&rule["audiences"]),
        keys_at: (module, format!("/{path}")),
        is_forwarded: rule["forwardOriginalToken"].as_bool().unwrap_or(false),
    })
}

/// Only one kind of caller can be denied here: who has no valid token.
fn operations_of(rule: &Value, place: &str) -> Result<Vec<Operation>> {
    only(rule, &["from", "to"], place)?;
    for from in items(&rule["from"]) {
        only(&from["source"], &["notRequestPrincipals"], place)?;
        if texts(&from["source"]["notRequestPrincipals"]) != ["*"] {
            bail!("{place}: only callers without any token are translated (notRequestPrincipals: [\"*\"])");
        }
    }
    ensure!(items(&rule["from"]).count() == 1, "{place}: one that denies everybody is not translated");
    let operation = |to: &Value| {
        let operation = &to["operation"];
        only(operation, &["ports", "paths", "methods", "notMethods"], place)?;
        let ports = texts(&operation["ports"]);
        ensure!(ports == ["8080"], "{place}: a rule about HTTP says `ports: [\"8080\"]`, or it shuts the other ports");
        Ok(Operation {
            paths: texts(&operation["paths"]),
            methods: texts(&operation["methods"]),
            not_methods: texts(&operation["notMethods"]),
        })
    };
    items(&rule["to"]).map(operation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_policies(text: &str) -> Result<(Option<Tokens>, Refused)> {
        read(&Manifests::parse(text).unwrap())
    }

    const TOKENS: &str = "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  jwtRules:
    - issuer: https://pangaea.example
      audiences: [pangaea]
      jwksUri: http://user.pangaea.svc.cluster.local/.well-known/jwks.json
      forwardOriginalToken: true
";

    fn deny(rule: &str) -> String {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: token-user}}\n\
             spec: {{action: DENY, selector: {{matchLabels: {{app.kubernetes.io/name: user}}}}, rules: [{rule}]}}\n"
        )
    }

    #[test]
    fn reads_where_the_keys_are() {
        let (tokens, refused) = read_policies(TOKENS).unwrap();
        let tokens = tokens.unwrap();
        assert_eq!(tokens.keys_at, ("user".to_owned(), "/.well-known/jwks.json".to_owned()));
        assert_eq!((tokens.audiences, tokens.is_forwarded), (vec!["pangaea".to_owned()], true));
        assert!(refused.is_empty());
    }

    #[test]
    fn reads_what_needs_a_token() {
        let rule = "{from: [{source: {notRequestPrincipals: ['*']}}], \
            to: [{operation: {ports: ['8080'], paths: [/v1/users], notMethods: [POST]}}]}";
        let (_, refused) = read_policies(&deny(rule)).unwrap();
        let paths = vec!["/v1/users".to_owned()];
        let expected = Operation { paths, methods: Vec::new(), not_methods: vec!["POST".to_owned()] };
        assert_eq!(refused["user"], [expected]);
    }

    #[test]
    fn what_is_not_translated_is_refused() {
        for (rule, word) in [
            ("{to: [{operation: {ports: ['8080']}}]}", "denies everybody"),
            ("{from: [{source: {notRequestPrincipals: ['*']}}], to: [{operation: {paths: [/v1]}}]}", "ports"),
            ("{from: [{source: {namespaces: [x]}}], to: [{operation: {ports: ['8080']}}]}", "namespaces"),
            ("{from: [{source: {notRequestPrincipals: ['*']}}], when: [{key: x}]}", "when"),
        ] {
            let error = format!("{:#}", read_policies(&deny(rule)).unwrap_err());
            assert!(error.contains(word), "{rule}: {error}");
        }
    }
}
