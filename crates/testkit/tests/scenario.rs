//! Scenarios over a small module of their own: what they show, and how they fail.

use std::sync::Arc;

use anyhow::Result;
use futures_util::future::BoxFuture;
use pangaea_contracts::order::{Cancelled, Confirmed, Reason};
use pangaea_contracts::{Actor, Currency, Message, Money, OrderId, Request, Role};
use pangaea_journal::{Database, JournalError, Migration, Statement, record};
use pangaea_kernel::http::Edge;
use pangaea_kernel::{
    Answer, Call, Cx, Definition, Effect, Failure, Module, Outcome, Performed, Performer, Problem, ProblemKind,
    TryError,
};
use pangaea_testkit::scenario::{Place, Scenario};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;

/// Thanks for every confirmed order: by a letter, which it asks somebody outside to send, and reminds a day later.
struct Thanks;

/// Counts what thanks says.
struct Archive;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Thanked {
    order_id: OrderId,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Remind {
    order_id: OrderId,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct SendLetter {
    order_id: OrderId,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Ask {
    order_id: OrderId,
}

/// Whether an order is in the archive.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct IsArchived {
    order_id: OrderId,
}

pangaea_contracts::messages! {
    Thanked = "thanks.evt.thanked.v1", key order_id;
    Remind = "thanks.tmr.remind.v1", key order_id;
    SendLetter = "thanks.eff.send_letter.v1", key order_id;
    Ask = "thanks.rpc.ask.v1", key order_id;
    IsArchived = "archive.rpc.is_archived.v1", key order_id;
}

impl Request for IsArchived {
    type Reply = bool;
}

impl Effect for SendLetter {
    type Output = String;
    const DEADLINE_MS: i64 = 60_000;
    const TRY_TIMEOUT_MS: i64 = 1_000;
}

record! {
    struct Seen in "seen" {
        key { order_id: OrderId }
        letter: Option<String>,
    }
}

const SEEN: &[Migration] =
    &[Migration { name: "0001_seen", sql: "CREATE TABLE seen (order_id TEXT PRIMARY KEY, letter TEXT);" }];

struct Post;

impl Performer<SendLetter> for Post {
    fn target(&self) -> &str {
        "post"
    }

    fn perform<'a>(&'a self, call: &'a Call<SendLetter>) -> BoxFuture<'a, Result<Outcome<String>, TryError>> {
        Box::pin(async { Ok(Outcome::Done(format!("letter about {}", call.effect.order_id))) })
    }

    fn query<'a>(&'a self, _: &'a Call<SendLetter>) -> BoxFuture<'a, Result<Option<Outcome<String>>, TryError>> {
        Box::pin(async { Ok(None) })
    }
}

async fn confirmed(cx: &mut Cx, event: Confirmed) -> Result<(), Failure> {
    cx.perform(&SendLetter { order_id: event.order_id.clone() });
    cx.after(86_400_000, &Remind { order_id: event.order_id.clone() });
    cx.put(Seen { order_id: event.order_id, letter: None });
    Ok(())
}

/// Says what it has not declared: a bug.
async fn cancelled(cx: &mut Cx, event: Cancelled) -> Result<(), Failure> {
    cx.emit(&event);
    Ok(())
}

async fn sent(cx: &mut Cx, performed: Performed<SendLetter>) -> Result<(), Failure> {
    let order_id = performed.effect.order_id;
    let Outcome::Done(letter) = performed.outcome else { return Ok(()) };
    cx.emit(&Thanked { order_id: order_id.clone() });
    cx.put(Seen { order_id, letter: Some(letter) });
    Ok(())
}

async fn remind(cx: &mut Cx, timer: Remind) -> Result<(), Failure> {
    cx.emit(&Thanked { order_id: timer.order_id });
    Ok(())
}

/// Refuses after a write: a bug.
async fn ask(cx: &mut Cx, command: Ask) -> Result<Answer, Failure> {
    cx.put(Seen { order_id: command.order_id, letter: None });
    Err(Failure::refusal(ProblemKind::Conflict, "too late"))
}

async fn archived(cx: &mut Cx, event: Thanked) -> Result<(), Failure> {
    let shelf = cx.id_text("shelf_");
    cx.put(Seen { order_id: event.order_id, letter: Some(shelf) });
    Ok(())
}

async fn is_archived(edge: Edge, request: IsArchived) -> Result<bool, Problem> {
    let select = Statement::new("SELECT 1 FROM seen WHERE order_id = ?").bind_column(&request.order_id);
    Ok(!edge.database().fetch(select).await?.is_empty())
}

/// The thirteenth order is not to be archived.
async fn unlucky(database: &Database) -> Result<Vec<String>, JournalError> {
    let rows = database.fetch(Statement::new("SELECT order_id FROM seen WHERE order_id = 'ord_13'")).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

impl Module for Thanks {
    fn define(&self) -> Definition {
        Definition::new("thanks")
            .migrations(SEEN)
            .emits::<Thanked>()
            .on::<Confirmed>(confirmed)
            .on::<Cancelled>(cancelled)
            .effect::<SendLetter>(Arc::new(Post), sent)
            .timer::<Remind>(remind)
            .command::<Ask>(ask)
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        OpenApiRouter::new()
    }
}

impl Module for Archive {
    fn define(&self) -> Definition {
        Definition::new("archive")
            .migrations(SEEN)
            .invariant("no unlucky order", unlucky)
            .on::<Thanked>(archived)
            .serves::<IsArchived, _, _>(is_archived)
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        OpenApiRouter::new()
    }
}

fn order(number: u32) -> Confirmed {
    let order_id = format!("ord_{number}").parse().expect("an id");
    Confirmed { order_id, total: Money::new(100, Currency::GBP) }
}

#[tokio::test]
async fn effects_timers_and_other_modules_follow_from_an_input() -> Result<()> {
    for place in Place::all() {
        let mut scenario = Scenario::builder().module(Thanks).module(Archive).on(place).start().await?;
        let step = scenario.hear(&order(1)).await?.silent()?;
        assert_eq!((step.effects().len(), scenario.effects().await.len()), (1, 1));
        scenario.hear(&order(2)).await?;
        scenario.finish::<SendLetter>(Outcome::Done("by hand".into())).await?.said(&["thanks.evt.thanked.v1"])?;
        scenario.perform().await?.said(&["thanks.evt.thanked.v1"])?;
        let letters = ["ord_1 | by hand", "ord_2 | letter about ord_2"];
        scenario.expect_rows("thanks", "SELECT order_id, letter FROM seen ORDER BY order_id", &letters).await?;
        let archived = "SELECT order_id, SUBSTR(letter, 1, 6) FROM seen ORDER BY order_id";
        scenario.expect_rows("archive", archived, &["ord_1 | shelf_", "ord_2 | shelf_"]).await?;

        let first = scenario.until::<Thanked>(0, |_| true).await?;
        let second = scenario.until::<Thanked>(0, |_| true).await?;
        assert_eq!((first.order_id.as_str(), second.order_id.as_str()), ("ord_1", "ord_2"));
        assert!(scenario.until::<Thanked>(86_399_999, |_| true).await.is_err());
        scenario.until::<Thanked>(86_400_000, |_| true).await?;
        assert_eq!(scenario.now().millis_since(Scenario::START), 86_400_000);
        scenario.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_same_inputs_give_the_same_transcript() -> Result<()> {
    let mut transcripts = Vec::new();
    for _ in 0..2 {
        let mut scenario = Scenario::builder().module(Thanks).module(Archive).start().await?;
        scenario.hear(&order(1)).await?;
        scenario.perform().await?;
        scenario.pass(86_400_000).await?;
        let ids = scenario.rows("archive", "SELECT letter FROM seen").await?;
        transcripts.push(scenario.transcript().await + &ids.concat());
        scenario.close().await?;
    }
    assert_eq!(transcripts[0], transcripts[1]);
    assert_eq!(transcripts[0].lines().count(), 9, "{}", transcripts[0]);
    Ok(())
}

#[tokio::test]
async fn a_failure_says_what_was_expected_what_came_and_the_last_messages() -> Result<()> {
    let mut scenario = Scenario::builder().module(Thanks).start().await?;
    scenario.hear(&order(1)).await?;
    let late = scenario.until::<Thanked>(1_000, |_| true).await.unwrap_err().to_string();
    for part in [
        "expected: thanks.evt.thanked.v1 within 1000 ms",
        "+0 ms thanks <- order.evt.confirmed.v1 {\"order_id\":\"ord_1\"",
        "+0 ms thanks -> thanks.eff.send_letter.v1",
        "thanks waits for the timer",
        "an effect waits for its result: thanks.eff.send_letter.v1 ord_1",
    ] {
        assert!(late.contains(part), "{part} is not in\n{late}");
    }
    let step = scenario.perform().await?;
    let other = step.said(&["thanks.evt.forgotten.v1"]).unwrap_err().to_string();
    assert!(other.contains("- thanks.evt.forgotten.v1\n+ thanks.evt.thanked.v1"), "{other}");
    let rows = scenario.expect_rows("thanks", "SELECT order_id FROM seen", &["ord_2"]).await.unwrap_err().to_string();
    assert!(rows.contains("- ord_2\n+ ord_1"), "{rows}");
    let elsewhere = scenario.hear(&Thanked { order_id: "ord_1".parse()? }).await.unwrap_err().to_string();
    assert!(elsewhere.contains("thanks is hosted here"), "{elsewhere}");
    scenario.close().await
}

#[tokio::test]
async fn bugs_of_a_handler_fail_the_step() -> Result<()> {
    let staff = Actor::user("usr_staff", [Role::Staff]);
    let mut scenario = Scenario::builder().module(Thanks).start().await?;
    let asked = scenario.ask(&staff, &Ask { order_id: "ord_1".parse()? }).await.unwrap_err().to_string();
    assert!(asked.contains("a refusal after a write"), "{asked}");
    let event = Cancelled { order_id: "ord_2".parse()?, reason: Reason::new("test", "in a test") };
    let dead = scenario.hear(&event).await.unwrap_err().to_string();
    assert!(dead.contains("dead letter") && dead.contains("is not declared by thanks"), "{dead}");
    assert!(scenario.close().await.unwrap_err().to_string().contains("dead letters"));
    let unknown = Scenario::builder().module(Thanks).settings("order", serde_json::json!({})).start().await;
    assert!(unknown.err().is_some_and(|error| error.to_string().contains("order")));
    Ok(())
}

#[tokio::test]
async fn requests_are_answered_by_the_module_that_serves_them() -> Result<()> {
    let mut scenario = Scenario::builder().module(Thanks).module(Archive).start().await?;
    let request = IsArchived { order_id: "ord_1".parse()? };
    assert!(!scenario.request(&request).await?);
    scenario.hear(&order(1)).await?;
    scenario.perform().await?;
    assert!(scenario.request(&request).await?);
    scenario.close().await?;
    let alone = Scenario::builder().module(Thanks).start().await?;
    let nobody = alone.request(&request).await.unwrap_err().to_string();
    assert!(nobody.contains("no module here serves archive.rpc.is_archived.v1"), "{nobody}");
    alone.close().await
}

#[tokio::test]
async fn an_invariant_that_does_not_hold_fails_the_end() -> Result<()> {
    let mut scenario = Scenario::builder().module(Archive).start().await?;
    scenario.hear(&Thanked { order_id: "ord_13".parse()? }).await?;
    let broken = scenario.close().await.unwrap_err().to_string();
    assert!(broken.contains("no unlucky order: ord_13"), "{broken}");
    Ok(())
}

#[test]
fn subjects_stand_on_their_types() {
    assert_eq!(schemas().len(), 5);
    assert_eq!(Ask::SUBJECT, "thanks.rpc.ask.v1");
}
