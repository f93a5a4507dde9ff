//! The module through its HTTP routes, on a real database.

mod support;

use pangaea_kernel::Module;
use pangaea_kernel::http::access_table;
use pangaea_user::{DEMO_ADMIN, DEMO_CUSTOMER, DEMO_STAFF, User, UserConfig, verify};
use serde_json::{Value, json};
use support::{Folder, Host, config, host};

const EMAIL: &str = "ann@example.org";
const PASSWORD: &str = "correct horse";

async fn with_ann() -> Host {
    let host = host().await;
    host.register(EMAIL, PASSWORD, "Ann").await.expect(201);
    host
}

async fn demo() -> Host {
    let host = Host::at("sqlite::memory:", UserConfig { demo_accounts: true, ..config() }).await;
    host.start().await.unwrap();
    host
}

async fn sign_in_demo(host: &Host, account: pangaea_user::DemoAccount) -> String {
    host.sign_in(account.email, account.password).await.expect(201).text("access_token")
}

#[tokio::test]
async fn registers_and_reads_the_own_account() {
    let host = host().await;
    let made = host.register("Ann@Example.org", PASSWORD, " Ann Lee ").await.expect(201);
    assert_eq!(made.header("etag"), "\"1\"");
    assert_eq!(made.header("location"), "/v1/users/me");
    assert_eq!(made.body["email"], "Ann@Example.org");
    assert_eq!(made.body["name"], "Ann Lee");
    assert_eq!(made.body["roles"], json!(["customer"]));

    let tokens = host.sign_in(EMAIL, PASSWORD).await.expect(201);
    assert_eq!(tokens.body["token_type"], "Bearer");
    assert_eq!(tokens.body["expires_in"], 600);
    assert_eq!(tokens.header("cache-control"), "no-store");
    let me = host.get("/v1/users/me").token(&tokens.text("access_token")).send().await.expect(200);
    assert_eq!(me.body, made.body);
    assert_eq!(me.header("etag"), "\"1\"");
    let same = host.get("/v1/users/me").token(&tokens.text("access_token")).header("if-none-match", "\"1\"");
    assert_eq!(same.send().await.expect(304).body, Value::Null);
    assert_eq!(verify(host.edge.database()).await.unwrap(), [] as [String; 0]);
}

#[tokio::test]
async fn names_every_field_at_fault() {
    let host = host().await;
    let refused = host.register("ann", "short", "").await.expect(422);
    let pointers: Vec<&str> =
        refused.body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/email", "/password", "/name"]);
    let body = json!({"email": EMAIL, "password": PASSWORD, "name": "Ann", "roles": ["admin"]});
    host.call("POST", "/v1/users", body.clone()).header("idempotency-key", "k").send().await.expect(422);
    host.call("POST", "/v1/users", body).send().await.expect(400);
    assert_eq!(host.count("account").await, 0);
}

#[tokio::test]
async fn a_repeated_registration_is_the_same_and_writes_no_new_secret() {
    let host = host().await;
    let register = |password: &str| {
        let body = json!({"email": EMAIL, "password": password, "name": "Ann"});
        host.call("POST", "/v1/users", body).header("idempotency-key", "one").send()
    };
    let first = register(PASSWORD).await.expect(201);
    let secrets = host.count("secret").await;
    let again = register(PASSWORD).await.expect(201);
    assert_eq!(first.body, again.body);
    let other = register("another password").await.expect(422);
    assert!(other.text("type").ends_with("idempotency-key-reused"));
    assert_eq!((host.count("account").await, host.count("secret").await), (1, secrets));

    let taken = host.register("ANN@example.org", "another password", "Eve").await.expect(409);
    assert!(taken.text("type").ends_with("conflict"));
    assert_eq!((host.count("account").await, host.count("secret").await), (1, secrets));
    host.sign_in(EMAIL, "another password").await.expect(401);
    host.sign_in(EMAIL, PASSWORD).await.expect(201);
}

#[tokio::test]
async fn the_key_set_verifies_a_token_without_any_of_our_code() {
    let host = with_ann().await;
    let token = host.sign_in(EMAIL, PASSWORD).await.expect(201).text("access_token");
    let set = host.get("/.well-known/jwks.json").send().await.expect(200);
    assert_eq!(set.header("cache-control"), "public, max-age=300");
    let parts: Vec<&str> = token.split('.').collect();
    let decode = |text: &str| pangaea_kernel::auth::from_base64url(text).unwrap();
    let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
    let key = set.body["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).expect("its key");
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"), &json!("sig"))
    );
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, decode(key["x"].as_str().unwrap()));
    let signed = format!("{}.{}", parts[0], parts[1]);
    public.verify(signed.as_bytes(), &decode(parts[2])).expect("a good signature");
    assert!(public.verify(b"something else", &decode(parts[2])).is_err());
    let claims: Value = serde_json::from_slice(&decode(parts[1])).unwrap();
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    assert!(claims["sub"].as_str().unwrap().starts_with("usr_"));
}

#[tokio::test]
async fn a_refresh_token_is_used_up_and_its_reuse_ends_the_session() {
    let host = with_ann().await;
    let first = host.sign_in(EMAIL, PASSWORD).await.expect(201).text("refresh_token");
    let second = host.refresh(&first).await.expect(200).text("refresh_token");
    assert_ne!(first, second);
    host.clock.advance_ms(60_000);
    let third = host.refresh(&second).await.expect(200).text("refresh_token");
    host.clock.advance_ms(10_001);
    let reused = host.refresh(&second).await.expect(401);
    assert!(reused.text("detail").contains("used before"));
    let family = host.refresh(&third).await.expect(401);
    assert!(family.text("detail").contains("sign in again"), "the thief's token and the owner's end alike");
    host.refresh("made up").await.expect(401);
    host.refresh(&"A".repeat(43)).await.expect(401);
    host.sign_in(EMAIL, PASSWORD).await.expect(201);
}

#[tokio::test]
async fn a_lost_answer_costs_no_session() {
    let host = with_ann().await;
    let first = host.sign_in(EMAIL, PASSWORD).await.expect(201).text("refresh_token");
    let lost = host.refresh(&first).await.expect(200).text("refresh_token");
    host.clock.advance_ms(10_000);
    let second = host.refresh(&first).await.expect(200).text("refresh_token");
    assert_ne!(lost, second);
    let third = host.refresh(&second).await.expect(200).text("refresh_token");
    host.clock.advance_ms(10_001);
    host.refresh(&lost).await.expect(401);
    host.refresh(&third).await.expect(401);
}

#[tokio::test]
async fn an_access_token_outlives_neither_its_time_nor_its_roles_a_refresh() {
    let host = demo().await;
    let admin = sign_in_demo(&host, DEMO_ADMIN).await;
    let tokens = host.sign_in(DEMO_CUSTOMER.email, DEMO_CUSTOMER.password).await.expect(201);
    let me = host.get("/v1/users/me").token(&tokens.text("access_token")).send().await.expect(200);
    let path = format!("/v1/users/{}/roles", me.text("id"));
    let change = |tag: &'static str, roles: Value| {
        host.call("PUT", &path, json!({"roles": roles})).token(&admin).header("if-match", tag).send()
    };
    host.call("PUT", &path, json!({"roles": ["staff"]})).token(&admin).send().await.expect(428);
    change("\"9\"", json!(["staff"])).await.expect(412);
    change("\"1\"", json!([])).await.expect(422);
    change("\"1\"", json!(["king"])).await.expect(422);
    let changed = change("\"1\"", json!(["staff", "customer"])).await.expect(200);
    assert_eq!(changed.body["roles"], json!(["customer", "staff"]));
    assert_eq!(changed.body["email"], DEMO_CUSTOMER.email);
    assert_eq!(changed.header("etag"), "\"2\"");

    let verifier = host.edge.verifier();
    assert_eq!(verifier.verify(&tokens.text("access_token")).await.unwrap().roles.len(), 1);
    let renewed = host.refresh(&tokens.text("refresh_token")).await.expect(200);
    assert_eq!(verifier.verify(&renewed.text("access_token")).await.unwrap().roles.len(), 2);
    host.clock.advance_ms(600_000);
    assert_eq!(verifier.verify(&renewed.text("access_token")).await.unwrap_err().status, 401);
    let said: Vec<String> = host.leader.log.lock().await.iter().map(|message| message.subject.clone()).collect();
    assert_eq!(said.iter().filter(|subject| *subject == "user.evt.roles_changed.v1").count(), 1);
}

#[tokio::test]
async fn an_administrator_stays_one() {
    let host = demo().await;
    let admin = sign_in_demo(&host, DEMO_ADMIN).await;
    let id = host.get("/v1/users/me").token(&admin).send().await.expect(200).text("id");
    let path = format!("/v1/users/{id}/roles");
    let refused =
        host.call("PUT", &path, json!({"roles": ["staff"]})).token(&admin).header("if-match", "*").send().await;
    assert!(refused.expect(409).text("detail").contains("another administrator"));
    host.call("PUT", "/v1/users/usr_nobody/roles", json!({"roles": ["staff"]}))
        .token(&admin)
        .header("if-match", "*")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn signs_out_of_one_session_or_all() {
    let host = with_ann().await;
    let sessions = [
        host.sign_in(EMAIL, PASSWORD).await.expect(201),
        host.sign_in(EMAIL, PASSWORD).await.expect(201),
        host.sign_in(EMAIL, PASSWORD).await.expect(201),
    ];
    let out = || host.delete("/v1/sessions/current").token(&sessions[0].text("access_token")).send();
    out().await.expect(204);
    out().await.expect(204);
    host.refresh(&sessions[0].text("refresh_token")).await.expect(401);
    let next = host.refresh(&sessions[1].text("refresh_token")).await.expect(200);
    host.delete("/v1/sessions").token(&next.text("access_token")).send().await.expect(204);
    host.refresh(&next.text("refresh_token")).await.expect(401);
    host.refresh(&sessions[2].text("refresh_token")).await.expect(401);
    let fresh = host.sign_in(EMAIL, PASSWORD).await.expect(201);
    host.refresh(&fresh.text("refresh_token")).await.expect(200);
    let me = host.get("/v1/users/me").token(&next.text("access_token")).send().await.expect(200);
    assert_eq!(me.body["version"], 1, "signing out changes nothing of the account that a client sees");
}

#[tokio::test]
async fn wrong_passwords_make_wait_whether_there_is_an_account_or_not() {
    let host = with_ann().await;
    for email in [EMAIL, "nobody@example.org"] {
        for _ in 0..5 {
            let refused = host.sign_in(email, "wrong password").await.expect(401);
            assert!(refused.text("detail").contains("or the password is wrong"));
        }
        let locked = host.sign_in(email, "wrong password").await.expect(429);
        assert_eq!(locked.header("retry-after"), "1");
    }
    host.sign_in(EMAIL, PASSWORD).await.expect(429);
    host.clock.advance_ms(1_000);
    host.sign_in(EMAIL, PASSWORD).await.expect(201);
    host.sign_in(EMAIL, "wrong password").await.expect(401);
    host.sign_in(EMAIL, PASSWORD).await.expect(201);
}

#[tokio::test]
async fn changes_the_own_profile_and_loses_no_update() {
    let host = with_ann().await;
    let token = host.sign_in(EMAIL, PASSWORD).await.expect(201).text("access_token");
    let change = |body: Value, tag: &'static str| {
        host.call("PATCH", "/v1/users/me", body).token(&token).header("if-match", tag).send()
    };
    let address = json!({"recipient": "Ann", "line1": "1 High Street", "city": "York", "country": "GB"});
    let changed = change(json!({"addresses": [address]}), "\"1\"").await.expect(200);
    assert_eq!((changed.header("etag"), &changed.body["name"]), ("\"2\"", &json!("Ann")));
    assert_eq!(changed.body["addresses"], json!([address]));
    change(json!({"name": "Annie"}), "\"1\"").await.expect(412);
    let renamed = change(json!({"name": "Annie"}), "\"2\"").await.expect(200);
    assert_eq!(renamed.body["addresses"], json!([address]));
    let me = host.get("/v1/users/me").token(&token).send().await.expect(200);
    assert_eq!(me.body, renamed.body);

    let bad = json!({"recipient": "Ann", "line1": "1", "city": "York", "country": "England"});
    let refused = change(json!({"addresses": [address, bad]}), "\"3\"").await.expect(422);
    assert_eq!(refused.body["errors"][0]["pointer"], "/addresses/1/country");
    let many: Vec<&Value> = std::iter::repeat_n(&address, 11).collect();
    change(json!({"addresses": many}), "\"3\"").await.expect(422);
    change(json!({"email": "eve@example.org"}), "\"3\"").await.expect(422);
    host.call("PATCH", "/v1/users/me", json!({"name": "A"})).token(&token).send().await.expect(428);
}

#[tokio::test]
async fn a_repeated_change_under_one_key_is_one_change() {
    let host = with_ann().await;
    let token = host.sign_in(EMAIL, PASSWORD).await.expect(201).text("access_token");
    let change = |name: &str| {
        let call = host.call("PATCH", "/v1/users/me", json!({"name": name})).token(&token);
        call.header("if-match", "\"1\"").header("idempotency-key", "k").send()
    };
    assert_eq!(change("Annie").await.expect(200).body["version"], 2);
    assert_eq!(change("Annie").await.expect(200).body["version"], 2, "although version 1 is stale by now");
    assert!(change("Eve").await.expect(422).text("type").ends_with("idempotency-key-reused"));
}

#[tokio::test]
async fn lists_accounts_by_page() {
    let host = demo().await;
    let admin = sign_in_demo(&host, DEMO_ADMIN).await;
    let page = host.get("/v1/users?limit=2").token(&admin).send().await.expect(200);
    let emails = |page: &support::Reply| -> Vec<String> {
        page.body["items"].as_array().unwrap().iter().map(|item| item["email"].as_str().unwrap().to_owned()).collect()
    };
    let next = page.text("next_cursor");
    assert!(page.header("link").contains(&next) && page.header("link").ends_with("rel=\"next\""));
    let last = host.get(&format!("/v1/users?limit=2&cursor={next}")).token(&admin).send().await.expect(200);
    assert_eq!(last.body.get("next_cursor"), None);
    let mut all = [emails(&page), emails(&last)].concat();
    all.sort();
    assert_eq!(all, [DEMO_ADMIN.email, DEMO_CUSTOMER.email, DEMO_STAFF.email]);
    host.get("/v1/users?limit=201").token(&admin).send().await.expect(422);
    host.get("/v1/users?cursor=nonsense").token(&admin).send().await.expect(400);
    let id = page.body["items"][0]["id"].as_str().unwrap();
    let one = host.get(&format!("/v1/users/{id}")).token(&admin).send().await.expect(200);
    assert_eq!(one.body["email"], page.body["items"][0]["email"]);
    host.get("/v1/users/usr_nobody").token(&admin).send().await.expect(404);
}

#[tokio::test]
async fn a_restart_makes_nothing_twice() {
    let folder = Folder::new("restart");
    let config =
        UserConfig { demo_accounts: true, first_admin: Some(("boss@example.org".into(), PASSWORD.into())), ..config() };
    let first = Host::at(&folder.url(), config.clone()).await;
    first.start().await.unwrap();
    let token = first.user.demo_token(&first.edge, DEMO_CUSTOMER.email).await.unwrap();
    assert_eq!(first.edge.verifier().verify(&token).await.unwrap().roles.len(), 1);
    let inbox = first.count("inbox").await;
    first.start().await.unwrap();
    assert_eq!(first.count("inbox").await, inbox);
    first.stop().await;

    let second = Host::at(&folder.url(), config.clone()).await;
    second.start().await.unwrap();
    assert_eq!((second.count("account").await, second.count("token_key").await), (4, 1));
    let boss = second.sign_in("boss@example.org", PASSWORD).await.expect(201).text("access_token");
    second.get("/v1/users").token(&boss).send().await.expect(200);
    second.edge.verifier().verify(&token).await.expect("a token from before the restart");
    second.stop().await;

    let wrong_key = Host::at(&folder.url(), UserConfig { sealing_key: [8; 32], ..config }).await;
    assert!(wrong_key.start().await.unwrap_err().contains("sealing key"));
    wrong_key.sign_in("boss@example.org", PASSWORD).await.expect(503);
    assert_eq!(wrong_key.count("token_key").await, 1);
    wrong_key.stop().await;
}

#[tokio::test]
async fn the_next_key_is_published_before_its_first_use_and_both_verify() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let host = with_ann().await;
    host.start().await.unwrap();
    let kid = |token: &str| {
        let header = token.split('.').next().unwrap();
        let header: Value = serde_json::from_slice(&pangaea_kernel::auth::from_base64url(header).unwrap()).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    };
    let sign_in = || async { host.sign_in(EMAIL, PASSWORD).await.expect(201).text("access_token") };
    let old = kid(&sign_in().await);
    host.clock.advance_ms(83 * DAY_MS - 1);
    assert_eq!(kid(&sign_in().await), old);
    assert_eq!(host.count("token_key").await, 1);
    host.clock.advance_ms(60_000);
    let before = sign_in().await;
    assert_eq!(kid(&before), old, "the new key is published, not used");
    assert_eq!(host.count("token_key").await, 2);
    let set = host.get("/.well-known/jwks.json").send().await.expect(200);
    assert_eq!(set.body["keys"].as_array().unwrap().len(), 2);
    host.clock.advance_ms(300_000);
    let after = sign_in().await;
    assert_ne!(kid(&after), old);
    for token in [&before, &after] {
        host.edge.verifier().verify(token).await.expect("both are good");
    }
    host.clock.advance_ms(8 * DAY_MS);
    let set = host.get("/.well-known/jwks.json").send().await.expect(200);
    assert_eq!(set.body["keys"].as_array().unwrap().len(), 1, "the old key has ended");
    host.clock.advance_ms(200 * DAY_MS);
    host.edge
        .verifier()
        .verify(&sign_in().await)
        .await
        .expect("a key of its own after a stop longer than any key's life");
    assert_eq!(host.count("token_key").await, 3);
}

#[tokio::test]
async fn the_command_line_makes_accounts_with_any_role() {
    let host = host().await;
    let roles = [pangaea_contracts::Role::Admin];
    let id = host.user.create_user(&host.edge, EMAIL, PASSWORD, "Ann", &roles).await.unwrap();
    let again = host.user.create_user(&host.edge, EMAIL, PASSWORD, "Ann", &roles).await.unwrap_err();
    assert_eq!(again.status, 409);
    let token = host.sign_in(EMAIL, PASSWORD).await.expect(201).text("access_token");
    let claims = host.edge.verifier().verify(&token).await.unwrap();
    assert_eq!((claims.sub.as_str(), claims.roles.as_slice()), (id.as_str(), &roles[..]));
    let missing = host.user.demo_token(&host.edge, "nobody@example.org").await.unwrap_err();
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn every_operation_says_who_may_call_it() {
    let document = User::new(config()).routes().to_openapi();
    let document = serde_json::to_value(document).unwrap();
    let table = access_table(&document).unwrap();
    let open: Vec<String> = table
        .iter()
        .filter(|(_, access)| access.anonymous)
        .map(|((method, path), _)| format!("{method} {path}"))
        .collect();
    assert_eq!(
        open,
        ["GET /.well-known/jwks.json", "POST /v1/sessions", "POST /v1/sessions/refresh", "POST /v1/users"]
    );
    assert_eq!(table.len(), 11);
    let ids: std::collections::BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 11, "every operation has an id of its own");
}
