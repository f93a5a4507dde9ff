//! Inputs to outputs and rows, through the kernel's executor on SQLite.

use std::sync::Arc;

use pangaea_contracts::user::{
    ChangeProfile, ChangeRoles, CloseAllSessions, CloseSession, OpenSession, PublishKey, Register, RotateSession,
};
use pangaea_contracts::{Actor, Message, Role, Timestamp};
use pangaea_journal::{Database, DatabaseOptions, SecretRow, Statement};
use pangaea_kernel::{Answer, BatchResult, Done, Executor, Input, InputKind, Module, Work};
use pangaea_user::{User, UserConfig, verify};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

struct Bench {
    executor: Executor,
    database: Database,
    now: Timestamp,
    count: u32,
}

// === impl Bench ===

impl Bench {
    async fn new() -> Self {
        let user = User::new(UserConfig { sealing_key: [1; 32], first_admin: None, demo_accounts: false });
        let options =
            DatabaseOptions { url: "sqlite::memory:".into(), read_connections_max: 2, synchronous_full: false };
        let database = Database::open("user", &options).await.unwrap();
        let definition = user.define();
        let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
        let executor = Executor::new(writer, Arc::new(definition), "test").await.unwrap();
        Self { executor, database, now: Timestamp::from_millis(1_800_000_000_000), count: 0 }
    }

    /// Each call is a command of its own.
    fn input<M: Message>(&mut self, message: &M) -> Input {
        self.count += 1;
        let id = format!("cmd_{}", self.count);
        Input {
            kind: InputKind::Command { fingerprint: "f".into() },
            subject: M::SUBJECT.into(),
            key: message.key(),
            causation_id: id.clone(),
            correlation_id: id.clone(),
            actor: Actor::user("usr_admin", [Role::Admin]),
            traceparent: None,
            payload: serde_json::to_string(message).unwrap(),
            secrets: Vec::new(),
            id,
        }
    }

    async fn run(&mut self, inputs: Vec<Input>) -> BatchResult {
        let work: Vec<Work> = inputs.into_iter().map(Work::Input).collect();
        self.executor.run(&work, self.now).await.unwrap()
    }

    async fn answer<M: Message>(&mut self, message: &M) -> Answer {
        let input = self.input(message);
        only_answer(self.run(vec![input]).await)
    }

    async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.database.fetch(Statement::new(sql)).await.unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    async fn number(&self, sql: &str) -> i64 {
        self.database.fetch(Statement::new(sql)).await.unwrap()[0].get(0).unwrap()
    }
}

fn only_answer(mut result: BatchResult) -> Answer {
    match result.done.pop() {
        Some(Done::Answered(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn register(user: &str, email_hash: &str) -> Register {
    Register {
        user_id: format!("usr_{user}").parse().unwrap(),
        email_hash: email_hash.into(),
        email_sealed: "sealed-email".into(),
        profile_sealed: "sealed-profile".into(),
        roles: vec![Role::Customer],
    }
}

fn open(user: &str, session: &str) -> OpenSession {
    OpenSession {
        session_id: format!("ses_{session}").parse().unwrap(),
        user_id: format!("usr_{user}").parse().unwrap(),
        generation: 1,
    }
}

fn rotate(session: &str, generation: i64) -> RotateSession {
    RotateSession { session_id: format!("ses_{session}").parse().unwrap(), generation }
}

fn secret(name: &str) -> SecretRow {
    SecretRow { name: name.into(), value: Some("hash".into()), expires_at: None }
}

#[tokio::test]
async fn an_address_has_one_account_also_within_a_batch() {
    let mut bench = Bench::new().await;
    let mut first = bench.input(&register("a", "hash"));
    first.secrets = vec![secret("password/usr_a"), secret("user_key/usr_a")];
    let mut second = bench.input(&register("b", "hash"));
    second.secrets = vec![secret("password/usr_b")];
    let repeat = first.clone();
    let result = bench.run(vec![first, second, repeat]).await;
    let answer = |index: usize| match &result.done[index] {
        Done::Answered(answer) => (answer.status, answer.body.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!((answer(0).0, answer(1).0), (201, 409));
    assert_eq!(answer(0), answer(2));
    assert_eq!(result.refusals_after_write, 0);
    let said: Vec<(&str, &str)> = result.log.iter().map(|m| (m.subject.as_str(), m.payload.as_str())).collect();
    assert_eq!(said, [("user.evt.registered.v1", r#"{"user_id":"usr_a","roles":["customer"]}"#)]);
    assert_eq!(bench.texts("SELECT user_id FROM account").await, ["usr_a"]);
    assert_eq!(
        bench.texts("SELECT name FROM secret ORDER BY name").await,
        ["password/usr_a", "user_key/usr_a"],
        "a refused command leaves no secret"
    );
    assert_eq!(verify(&bench.database).await.unwrap(), [] as [String; 0]);
}

#[tokio::test]
async fn verify_names_what_is_missing() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.answer(&register("a", "hash")).await.status, 201);
    let breaches = verify(&bench.database).await.unwrap();
    assert_eq!(breaches, ["account without a password: usr_a", "account without the key of its personal data: usr_a"]);
}

#[tokio::test]
async fn versions_guard_profile_and_roles() {
    let mut bench = Bench::new().await;
    bench.answer(&register("a", "hash")).await;
    let user_id: pangaea_contracts::UserId = "usr_a".parse().unwrap();
    let profile = |expected_version, base_version| ChangeProfile {
        user_id: user_id.clone(),
        expected_version,
        base_version,
        profile_sealed: "new".into(),
    };
    assert_eq!(bench.answer(&profile(Some(2), 1)).await.status, 412);
    assert_eq!(bench.answer(&profile(None, 2)).await.status, 412, "made from another version than the present one");
    let changed = bench.answer(&profile(Some(1), 1)).await;
    assert_eq!((changed.status, changed.headers), (200, vec![("etag".into(), "\"2\"".into())]));
    let roles = |expected_version, roles: &[Role]| ChangeRoles {
        user_id: user_id.clone(),
        expected_version,
        roles: roles.to_vec(),
    };
    assert_eq!(bench.answer(&roles(Some(1), &[Role::Staff])).await.status, 412);
    assert_eq!(bench.answer(&roles(None, &[])).await.status, 422);
    let input = bench.input(&roles(None, &[Role::Staff, Role::Customer, Role::Staff]));
    let result = bench.run(vec![input]).await;
    assert_eq!(result.log[0].payload, r#"{"user_id":"usr_a","roles":["customer","staff"]}"#);
    let input = bench.input(&roles(Some(3), &[Role::Customer, Role::Staff]));
    assert!(bench.run(vec![input]).await.log.is_empty(), "the same roles are no change");
    assert_eq!(bench.number("SELECT version FROM account").await, 3);
    let nobody =
        ChangeRoles { user_id: "usr_nobody".parse().unwrap(), expected_version: None, roles: vec![Role::Staff] };
    assert_eq!(bench.answer(&nobody).await.status, 404);
}

#[tokio::test]
async fn reuse_closes_the_session_and_leaves_the_others() {
    let mut bench = Bench::new().await;
    bench.answer(&register("a", "hash")).await;
    assert_eq!(bench.answer(&open("nobody", "x")).await.status, 404);
    for session in ["x", "y"] {
        assert_eq!(bench.answer(&open("a", session)).await.status, 200);
    }
    assert_eq!(bench.answer(&open("a", "x")).await.status, 409);
    assert_eq!(bench.answer(&rotate("x", 1)).await.status, 200);
    assert_eq!(bench.answer(&rotate("x", 1)).await.status, 200, "within the grace");
    bench.now = bench.now.plus_millis(10_001);
    let mut reuse = bench.input(&rotate("x", 1));
    reuse.secrets = vec![secret("refresh/stolen")];
    let result = bench.run(vec![reuse]).await;
    assert_eq!((result.refusals_after_write, only_answer(result).status), (0, 401));
    assert_eq!(bench.number("SELECT COUNT(*) FROM secret").await, 0);
    assert_eq!(bench.answer(&rotate("x", 2)).await.status, 401);
    assert_eq!(bench.answer(&rotate("y", 1)).await.status, 200);
    assert_eq!(bench.answer(&rotate("unknown", 1)).await.status, 401);
    assert_eq!(bench.texts("SELECT session_id FROM session WHERE closed_at IS NOT NULL").await, ["ses_x"]);
}

#[tokio::test]
async fn signing_out_twice_is_signing_out() {
    let mut bench = Bench::new().await;
    bench.answer(&register("a", "hash-a")).await;
    bench.answer(&register("b", "hash-b")).await;
    bench.answer(&open("a", "x")).await;
    let close = |session: &str, user: &str| CloseSession {
        session_id: format!("ses_{session}").parse().unwrap(),
        user_id: format!("usr_{user}").parse().unwrap(),
    };
    for (session, user) in [("x", "b"), ("unknown", "a")] {
        assert_eq!(bench.answer(&close(session, user)).await.status, 204);
    }
    assert_eq!(bench.answer(&rotate("x", 1)).await.status, 200, "another's sign-out ends nothing of mine");
    assert_eq!(bench.answer(&close("x", "a")).await.status, 204);
    let closed_at = bench.number("SELECT closed_at FROM session").await;
    bench.now = bench.now.plus_millis(1_000);
    assert_eq!(bench.answer(&close("x", "a")).await.status, 204);
    assert_eq!(bench.number("SELECT closed_at FROM session").await, closed_at);
    bench.answer(&open("a", "y")).await;
    assert_eq!(bench.answer(&CloseAllSessions { user_id: "usr_a".parse().unwrap() }).await.status, 204);
    assert_eq!(bench.answer(&rotate("y", 1)).await.status, 401);
    assert_eq!(bench.answer(&CloseAllSessions { user_id: "usr_nobody".parse().unwrap() }).await.status, 404);
}

#[tokio::test]
async fn a_session_is_forgotten_when_it_has_ended() {
    let mut bench = Bench::new().await;
    bench.answer(&register("a", "hash")).await;
    bench.answer(&open("a", "x")).await;
    bench.now = bench.now.plus_millis(29 * DAY_MS);
    assert_eq!(bench.answer(&rotate("x", 1)).await.status, 200);
    bench.now = bench.now.plus_millis(30 * DAY_MS - 1);
    bench.run(Vec::new()).await;
    assert_eq!(bench.number("SELECT COUNT(*) FROM session").await, 1, "the refresh has prolonged it");
    bench.now = bench.now.plus_millis(1);
    assert_eq!(bench.run(Vec::new()).await.timers_fired, 1);
    assert_eq!(bench.number("SELECT COUNT(*) FROM session").await, 0);
    assert_eq!(bench.number("SELECT COUNT(*) FROM timer").await, 0);
    assert_eq!(bench.answer(&rotate("x", 2)).await.status, 401);
}

#[tokio::test]
async fn a_key_is_kept_and_published() {
    let mut bench = Bench::new().await;
    let key = PublishKey {
        key_id: "kid".into(),
        public_key: "x".into(),
        not_before: bench.now,
        not_after: bench.now.plus_millis(DAY_MS),
    };
    let mut input = bench.input(&key);
    input.secrets = vec![secret("signing_key/kid")];
    let result = bench.run(vec![input.clone(), input]).await;
    let said: Vec<&str> = result.log.iter().map(|message| message.subject.as_str()).collect();
    assert_eq!(said, ["user.evt.key_published.v1"]);
    assert_eq!(result.log[0].payload, serde_json::to_string(&key).unwrap(), "the same fields");
    assert_eq!(bench.texts("SELECT key_id FROM token_key").await, ["kid"]);
    assert_eq!(bench.texts("SELECT name FROM secret").await, ["signing_key/kid"]);
}
