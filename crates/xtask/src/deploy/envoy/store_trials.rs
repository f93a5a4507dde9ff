//! What is asked of an Envoy before the real store: paths and tokens.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::bootstrap::CLUSTER_HEADER;
use super::http::{Client, Reply};
use super::model::Traffic;
use super::processes::{Envoy, Store, TOKEN_LIFE_S};
use super::trials::Bench;

/// What the store answers to a stranger under each prefix. Another module's process knows none of these paths.
const SAMPLES: [(&str, &str, u16); 7] = [
    ("/v1/products", "/v1/products?limit=1", 200),
    ("/v1/skus", "/v1/skus/none/prices", 404),
    ("/v1/orders", "/v1/orders", 401),
    ("/v1/payments", "/v1/payments", 401),
    ("/v1/users", "/v1/users/me", 401),
    ("/v1/sessions", "/v1/sessions", 405),
    ("/.well-known", "/.well-known/jwks.json", 200),
];

/// A token of the real store, and when it was seen to be good.
#[derive(Debug)]
pub(super) struct Signed {
    token: String,
    at: Instant,
    envoy: Envoy,
}

/// Every prefix leads to the module that the manifests name, and that module's process answers.
///
/// # Errors
/// When one leads elsewhere, or has no sample here.
pub(super) fn routing(bench: Bench<'_>, name: &str, traffic: &Traffic, store: &Store) -> Result<String> {
    let envoy = Envoy::start(bench.envoy, name, traffic, &store.pods(), bench.folder)?;
    let mut client = envoy.client();
    let mut count = 0;
    for (module, prefixes) in traffic.prefixes() {
        for prefix in prefixes {
            let sample = SAMPLES.iter().find(|(of, ..)| *of == prefix);
            let (_, path, expected) =
                sample.with_context(|| format!("{prefix} of {module}: this check has no sample request"))?;
            let reply = client.get(path, &[])?;
            let cluster = reply.headers.get(CLUSTER_HEADER).map_or("nobody", String::as_str);
            let led_to = cluster.split('|').next().unwrap_or(cluster);
            ensure!(
                led_to == module || led_to.starts_with(&format!("{module}-")),
                "{path} leads to {cluster}, not to {module}"
            );
            ensure!(
                reply.status == *expected,
                "{module} answers {path} with {}, not {expected}: {}",
                reply.status,
                reply.body
            );
            count += 1;
        }
    }
    let nowhere = client.get("/metrics", &[])?;
    ensure!(nowhere.status == 404 && !nowhere.headers.contains_key(CLUSTER_HEADER), "/metrics leads somewhere");
    Ok(format!("{count} path prefixes lead to their modules, and /metrics nowhere"))
}

/// A stranger, a good token and bad ones, by the key set that the user module serves.
///
/// # Errors
/// When one of them is answered otherwise than it should be.
pub(super) fn tokens(bench: Bench<'_>, traffic: &Traffic, store: &Store) -> Result<(Signed, Vec<String>)> {
    ensure!(traffic.tokens.is_some(), "no RequestAuthentication checks tokens");
    let envoy = Envoy::start(bench.envoy, "tokens", traffic, &store.pods(), bench.folder)?;
    let mut client = envoy.client();
    let signed_at = Instant::now();
    let token = sign_in(&mut client)?;
    for path in ["/v1/orders", "/v1/payments", "/v1/users/me"] {
        // A module hears of a new key over the bus, and asks once for one that it does not know.
        let reply = client.get(path, &[bearer(&token).as_header()])?;
        ensure!(reply.status == 200, "{path} with a good token is answered with {}: {}", reply.status, reply.body);
        let reply = client.get(path, &[])?;
        expect(&reply, 403, "RBAC", &format!("{path} without a token"))?;
        for (bad, what) in [(tampered(&token)?, "another signature"), (unsigned(&token)?, "the algorithm `none`")] {
            let reply = client.get(path, &[bearer(&bad).as_header()])?;
            expect(&reply, 401, "Jwt", &format!("{path} with {what}"))?;
        }
        let reply = client.get(path, &[bearer("nonsense").as_header()])?;
        expect(&reply, 401, "Jwt", &format!("{path} with nonsense for a token"))?;
    }
    let reply = client.send("POST", "/v1/products", &[("idempotency-key", "p")], "{}")?;
    expect(&reply, 403, "RBAC", "a write to the catalogue without a token")?;
    let reply = client.get("/v1/products", &[])?;
    ensure!(reply.status == 200, "a stranger reads the catalogue: {}", reply.status);
    let said = vec![
        "without a token: 403 before the module is asked, and the catalogue, registering and signing in stay open"
            .to_owned(),
        "a token with another signature, with none, or nonsense: 401".to_owned(),
        "a good token passes, by the key set of the user module".to_owned(),
    ];
    Ok((Signed { token, at: signed_at, envoy }, said))
}

/// The same token after its end.
///
/// # Errors
/// When it still passes.
pub(super) fn expiry(signed: &Signed) -> Result<String> {
    // The proxy allows its clock a second more, and the store counts in whole seconds.
    let end = Duration::from_secs(TOKEN_LIFE_S + 3);
    sleep(end.saturating_sub(signed.at.elapsed()));
    let reply = signed.envoy.client().get("/v1/orders", &[bearer(&signed.token).as_header()])?;
    expect(&reply, 401, "Jwt is expired", "/v1/orders with a token that has ended")?;
    Ok(format!("a token that has ended ({TOKEN_LIFE_S} s after it was issued): 401"))
}

/// After the wait of [`expiry`], the proxy's connections to the store are still there: it is the proxy that lets go of them, or a request
/// would now and then meet one that is just being closed, and end in 503.
///
/// # Errors
/// When the store has closed one, or there is none.
pub(super) fn connections_kept(signed: &Signed) -> Result<String> {
    let closed = signed.envoy.upstreams("upstream_cx_destroy_remote")?;
    let open = signed.envoy.upstreams("upstream_cx_active")?;
    ensure!(closed == 0 && open > 0, "the store has closed {closed} of the proxy's connections, {open} are left");
    Ok(format!("of {open} connections that lay idle meanwhile the store has closed none"))
}

/// The proxy's own answer: the store's are never plain text.
fn expect(reply: &Reply, status: u16, word: &str, what: &str) -> Result<()> {
    let is_own =
        reply.headers.get("content-type").is_some_and(|kind| kind == "text/plain") && reply.body.contains(word);
    let (answered, body) = (reply.status, &reply.body);
    ensure!(answered == status && is_own, "{what} is answered with {answered} ({body}), not {status} by the proxy");
    Ok(())
}

fn sign_in(client: &mut Client) -> Result<String> {
    let email = "visitor@example.com";
    let json = ("content-type", "application/json");
    let account = format!(r#"{{"email":"{email}","password":"a long enough password","name":"Visitor"}}"#);
    let reply = client.send("POST", "/v1/users", &[json, ("idempotency-key", "account")], &account)?;
    ensure!(reply.status == 201, "registering is answered with {}: {}", reply.status, reply.body);
    let credentials = format!(r#"{{"email":"{email}","password":"a long enough password"}}"#);
    let reply = client.send("POST", "/v1/sessions", &[json, ("idempotency-key", "session")], &credentials)?;
    ensure!(reply.status == 201, "signing in is answered with {}: {}", reply.status, reply.body);
    let session: Value = serde_json::from_str(&reply.body).context("a session that is no JSON")?;
    Ok(session["access_token"].as_str().context("a session without an access token")?.to_owned())
}

struct Bearer(String);

fn bearer(token: &str) -> Bearer {
    Bearer(format!("Bearer {token}"))
}

impl Bearer {
    fn as_header(&self) -> (&str, &str) {
        ("authorization", &self.0)
    }
}

/// The token with one letter of its signature changed: its first, because the last carries bits that mean nothing.
fn tampered(token: &str) -> Result<String> {
    let Some((signed, signature)) = token.rsplit_once('.') else { bail!("no JWT: {token}") };
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    Ok(format!("{signed}.{other}{}", signature.get(1..).unwrap_or_default()))
}

/// The token with the head of another algorithm, which must not be believed (RFC 8725).
fn unsigned(token: &str) -> Result<String> {
    // {"alg":"none"}
    let Some((_, rest)) = token.split_once('.') else { bail!("no JWT: {token}") };
    let (content, _) = rest.rsplit_once('.').unwrap_or((rest, ""));
    Ok(format!("eyJhbGciOiJub25lIn0.{content}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_token_differs_where_it_should() {
        assert_eq!(tampered("head.body.Asig").unwrap(), "head.body.Bsig");
        assert_eq!(tampered("head.body.sig").unwrap(), "head.body.Aig");
        assert_eq!(unsigned("head.body.sig").unwrap(), "eyJhbGciOiJub25lIn0.body.");
        assert!(tampered("x").is_err());
    }
}
