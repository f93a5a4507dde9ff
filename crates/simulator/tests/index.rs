//! What is no longer in memory is answered from disk as if it were, and from the ledger alone if the index is gone.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Reply, Running, fresh_ledger, with_ledger};
use futures_util::future::join_all;
use pangaea_simulator::{Ledger, Simulator, SimulatorConfig, SimulatorError};
use serde_json::{Value, json};

/// So small that nearly everything is on disk.
const KEPT: usize = 3;
const PAYMENTS: usize = 40;

#[tokio::test]
async fn old_keys_and_intents_are_answered_as_new_ones() {
    let path = fresh();
    let provider = Running::start(bounded(&path)).await;
    let first = pay(&provider).await;
    check(&provider, &first).await;
    go_on(&provider, &first).await;
    provider.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_index() {
    let path = fresh();
    let first = paid(&path).await;
    let file = || std::fs::metadata(index(&path)).map(|file| (file.ino(), file.created().ok())).expect("an index");
    let before = file();
    let provider = Running::start(bounded(&path)).await;
    check(&provider, &first).await;
    go_on(&provider, &first).await;
    provider.stop().await;
    assert_eq!(file(), before, "it was made again");
}

#[tokio::test]
async fn an_index_that_is_missing_is_made_again() {
    let path = fresh();
    let first = paid(&path).await;
    std::fs::remove_file(index(&path)).expect("removed");
    let provider = Running::start(bounded(&path)).await;
    check(&provider, &first).await;
    go_on(&provider, &first).await;
    provider.stop().await;
}

#[tokio::test]
async fn an_index_that_is_damaged_anywhere_changes_no_answer() {
    let path = fresh();
    let first = paid(&path).await;
    let whole = std::fs::read(index(&path)).expect("the index reads");
    let half = whole.len() / 2;
    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"not an index".to_vec(), whole[..half].to_vec(), vec![0; half]];
    damaged.push([&whole[..], &[7; 5_000]].concat());
    // Every page, at a place that moves on within the page.
    for (number, page) in (0..whole.len()).step_by(4_096).enumerate() {
        let mut copy = whole.clone();
        let begin = page + number * 389 % 4_096;
        let end = (begin + 64).min(copy.len());
        copy[begin..end].iter_mut().for_each(|byte| *byte ^= 0xA5);
        damaged.push(copy);
    }
    for begin in [0, 9, 12, 20, 32, 64, 100, 128, 192, 200, 256, 320] {
        let mut copy = whole.clone();
        copy[begin..begin + 8].iter_mut().for_each(|byte| *byte ^= 0x5A);
        damaged.push(copy);
    }
    for (number, content) in damaged.iter().enumerate() {
        std::fs::write(index(&path), content).expect("written");
        let provider = Running::start(bounded(&path)).await;
        // All of it once in a while, as it takes its time.
        let some = if number % 40 < 6 { &first[..] } else { &first[..4] };
        check_answers(&provider, some).await;
        provider.stop().await;
    }
}

/// As after a SIGKILL: a copy of both files, made while they are written, answers for all that is in its ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_copied_while_they_are_written_answer_for_their_ledger() {
    let path = fresh();
    let provider = Running::start(SimulatorConfig { kept_in_memory: 16, ..with_ledger(&path) }).await;
    let paying = async {
        for round in 0..30 {
            let keys: Vec<String> = (0..32).map(|number| format!("r{round}-{number}")).collect();
            join_all(keys.iter().map(|key| provider.authorize(key, "tok_ok", 1_000))).await;
        }
    };
    let copies: Vec<PathBuf> = (0..12).map(|_| fresh()).collect();
    let copying = async {
        for copy in &copies {
            tokio::time::sleep(Duration::from_millis(15)).await;
            let (path, copy) = (path.clone(), copy.clone());
            let copied = tokio::task::spawn_blocking(move || {
                std::fs::copy(index(&path), index(&copy)).and_then(|_| std::fs::copy(&path, &copy))
            });
            copied.await.expect("no panic").expect("copied");
        }
    };
    tokio::join!(paying, copying);
    provider.stop().await;
    for copy in &copies {
        let entries = Ledger::read(copy).expect("the ledger reads");
        let provider = Running::start(SimulatorConfig { kept_in_memory: 16, ..with_ledger(copy) }).await;
        for entry in &entries {
            let again = provider.authorize(&entry.key, "tok_ok", 1_000).await;
            assert_eq!((again.status, again.replayed, again.id()), (200, true, entry.intent.as_str()));
        }
        provider.stop().await;
        assert_eq!(Ledger::read(copy).expect("the ledger reads").len(), entries.len());
    }
}

#[tokio::test]
async fn an_index_of_another_ledger_is_made_again() {
    let (path, other) = (fresh(), fresh());
    let first = paid(&path).await;
    let provider = Running::start(SimulatorConfig { seed: 9, ..bounded(&other) }).await;
    pay(&provider).await;
    provider.stop().await;
    std::fs::copy(index(&other), index(&path)).expect("copied");
    let provider = Running::start(bounded(&path)).await;
    check(&provider, &first).await;
    provider.stop().await;
}

/// As after a restore of the ledger from a copy, or its last lines lost with the disk's power.
#[tokio::test]
async fn an_index_that_is_ahead_of_its_ledger_is_made_again() {
    let path = fresh();
    let first = paid(&path).await;
    let text = std::fs::read_to_string(&path).expect("the ledger reads");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    std::fs::write(&path, lines[..lines.len() / 2].concat()).expect("written");
    let provider = Running::start(bounded(&path)).await;
    check_answers(&provider, &first[..4]).await;
    let gone = &first.last().expect("a payment").key;
    assert_eq!(provider.get(&format!("/v1/operations/{gone}")).await.status, 404);
    let again = provider.authorize(gone, "tok_ok", 1_000).await;
    assert_eq!((again.status, again.replayed), (200, false));
    provider.stop().await;
    assert_eq!(Ledger::read(&path).expect("the ledger reads").len(), lines.len() / 2 + 1);
}

#[tokio::test]
async fn damage_of_the_ledger_is_found_where_an_index_stands_for_it() {
    let path = fresh();
    paid(&path).await;
    let text = std::fs::read_to_string(&path).expect("the ledger reads");
    // A key that is used twice, with as many bytes as before.
    let lines: Vec<&str> = text.lines().collect();
    let twice = lines[0].replacen("\"seq\":1,", "\"seq\":2,", 1);
    let content: Vec<&str> = [lines[0], &twice].into_iter().chain(lines[2..].iter().copied()).collect();
    std::fs::write(&path, content.join("\n") + "\n").expect("written");
    let error = Simulator::bind(bounded(&path)).await.expect_err("a damaged ledger is refused");
    assert!(matches!(error, SimulatorError::LedgerCorrupt { line: 2, .. }), "{error}");
}

#[tokio::test]
async fn an_index_that_cannot_be_made_is_an_error_that_names_it() {
    let path = fresh();
    std::fs::create_dir_all(index(&path)).expect("a folder in its place");
    let error = Simulator::bind(bounded(&path)).await.expect_err("there can be no index");
    assert!(matches!(&error, SimulatorError::Index { path: at, .. } if *at == index(&path)), "{error}");
}

/// Random calls, on old and new intents and with old and new keys, get the same answers from a simulator that keeps
/// everything in memory and from one that keeps next to nothing and is restarted, also without its index.
#[tokio::test]
async fn random_calls_are_answered_as_by_books_in_memory() {
    for seed in 1..=4 {
        let path = fresh();
        let mut random = Random(seed);
        let unbounded = Running::start(SimulatorConfig::default()).await;
        let mut tested = Running::start(SimulatorConfig { kept_in_memory: random.below(9), ..bounded(&path) }).await;
        let mut asked: Vec<(String, String, Value)> = Vec::new();
        let mut intents = vec!["pi_unknown".to_owned()];
        for number in 0..250 {
            let (method, path_and_query, key, body) = match random.below(10) {
                0..=2 => {
                    let token = ["tok_ok", "tok_ok", "tok_declined", "tok_action_required", "tok_capture_fails"];
                    let amount = 100 + random.below(3);
                    let body = json!({"amount": amount, "currency": "GBP", "reference": format!("r{}", random.below(9)),
                        "payment_method": token[random.below(token.len())]});
                    ("POST", "/v1/payment_intents".to_owned(), Some(format!("k{number}")), body)
                }
                3..=5 => {
                    let intent = &intents[random.below(intents.len())];
                    let action = ["capture", "capture", "cancel", "confirm"][random.below(4)];
                    let body = if action == "capture" { json!({"amount": 90 + random.below(20)}) } else { json!({}) };
                    ("POST", format!("/v1/payment_intents/{intent}/{action}"), Some(format!("k{number}")), body)
                }
                6 => {
                    let body = json!({"payment_intent": intents[random.below(intents.len())], "amount": 40});
                    ("POST", "/v1/refunds".to_owned(), Some(format!("k{number}")), body)
                }
                7 if !asked.is_empty() => {
                    let (path, key, body) = asked[random.below(asked.len())].clone();
                    let body = if random.below(4) == 0 { json!({"amount": 1}) } else { body };
                    ("POST", path, Some(key), body)
                }
                8 => {
                    let after = match random.below(3) {
                        0 => String::new(),
                        _ => format!("&starting_after={}", intents[random.below(intents.len())]),
                    };
                    ("GET", format!("/v1/payment_intents?limit={}{after}", 1 + random.below(100)), None, Value::Null)
                }
                _ if random.below(2) == 0 => {
                    ("GET", format!("/v1/operations/k{}", random.below(number + 5)), None, Value::Null)
                }
                _ => {
                    ("GET", format!("/v1/payment_intents/{}", intents[random.below(intents.len())]), None, Value::Null)
                }
            };
            let body_sent = Some(&body).filter(|body| !body.is_null());
            let expected = unbounded.send(method, &path_and_query, key.as_deref(), body_sent).await;
            let found = tested.send(method, &path_and_query, key.as_deref(), body_sent).await;
            assert_eq!(found, expected, "seed {seed}, call {number}: {method} {path_and_query} {key:?} {body}");
            if let Some(key) = key {
                if path_and_query == "/v1/payment_intents" {
                    intents.extend(expected.iter().filter_map(|reply| reply.body["id"].as_str()).map(str::to_owned));
                }
                asked.push((path_and_query, key, body));
            }
            if random.below(40) == 0 {
                tested.stop().await;
                if random.below(3) == 0 {
                    std::fs::remove_file(index(&path)).expect("removed");
                }
                tested = Running::start(SimulatorConfig { kept_in_memory: random.below(9), ..bounded(&path) }).await;
            }
        }
        unbounded.stop().await;
        tested.stop().await;
    }
}

/// One payment and what was answered.
#[derive(Debug)]
struct Paid {
    key: String,
    authorized: Reply,
    captured: Reply,
}

async fn paid(path: &Path) -> Vec<Paid> {
    let provider = Running::start(bounded(path)).await;
    let first = pay(&provider).await;
    provider.stop().await;
    first
}

async fn pay(provider: &Running) -> Vec<Paid> {
    let mut all = Vec::new();
    for number in 0..PAYMENTS {
        let key = format!("pay-{number}");
        let authorized = provider.authorize(&key, "tok_ok", 1_000).await;
        let captured = provider.capture(&format!("{key}-c"), authorized.id(), json!({"amount": 700})).await;
        assert_eq!((authorized.status, captured.status), (200, 200));
        all.push(Paid { key, authorized, captured });
    }
    all
}

async fn check(provider: &Running, first: &[Paid]) {
    check_answers(provider, first).await;
    let newest_first: Vec<&Value> = first.iter().rev().map(|paid| &paid.captured.body).collect();
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let page = provider.get(&format!("/v1/payment_intents?limit=7{after}")).await.body;
        let data = page["data"].as_array().expect("a page").clone();
        after = format!("&starting_after={}", data.last().expect("an intent")["id"].as_str().expect("an id"));
        listed.extend(data);
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(listed.iter().collect::<Vec<_>>(), newest_first);
    assert_eq!(provider.get("/v1/operations/never").await.code(), "operation_not_found");
    assert_eq!(provider.get("/v1/payment_intents/pi_never").await.code(), "intent_not_found");
    assert_eq!(provider.get("/v1/payment_intents?starting_after=pi_never").await.code(), "intent_not_found");
}

async fn check_answers(provider: &Running, first: &[Paid]) {
    for Paid { key, authorized, captured } in first {
        let replay = |reply: &Reply| Reply { replayed: true, ..reply.clone() };
        let id = authorized.id();
        assert_eq!(provider.authorize(key, "tok_ok", 1_000).await, replay(authorized));
        assert_eq!(provider.capture(&format!("{key}-c"), id, json!({"amount": 700})).await, replay(captured));
        assert_eq!(provider.authorize(key, "tok_ok", 1_001).await.code(), "idempotency_key_reused");
        let operation = provider.get(&format!("/v1/operations/{key}-c")).await.body;
        assert_eq!((&operation["kind"], &operation["body"]), (&json!("capture"), &captured.body));
        assert_eq!(provider.get(&format!("/v1/payment_intents/{id}")).await.body, captured.body);
    }
}

/// An old intent is acted on by its rules, and once.
async fn go_on(provider: &Running, first: &[Paid]) {
    let id = first[0].authorized.id();
    assert_eq!(provider.capture("again", id, json!({})).await.code(), "intent_not_capturable");
    assert_eq!(provider.refund("too-much", id, 701).await.code(), "refund_exceeds_captured");
    let refund = provider.refund("back", id, 500).await;
    assert_eq!(refund.status, 200);
    for number in 0..3 * KEPT {
        provider.authorize(&format!("more-{number}"), "tok_ok", 1_000).await;
    }
    assert_eq!(provider.refund("back", id, 500).await, Reply { replayed: true, ..refund });
    assert_eq!(provider.refund("too-much-2", id, 201).await.code(), "refund_exceeds_captured");
    let intent = provider.get(&format!("/v1/payment_intents/{id}")).await.body;
    assert_eq!((&intent["amount_captured"], &intent["amount_refunded"]), (&json!(700), &json!(500)));
}

fn bounded(path: &Path) -> SimulatorConfig {
    SimulatorConfig { kept_in_memory: KEPT, ..with_ledger(path) }
}

/// Without the index of a run before.
fn fresh() -> PathBuf {
    let path = fresh_ledger();
    let index = index(&path);
    let _ = if index.is_dir() { std::fs::remove_dir(&index) } else { std::fs::remove_file(&index) };
    path
}

fn index(path: &Path) -> PathBuf {
    path.with_added_extension("index")
}

/// A small generator, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
