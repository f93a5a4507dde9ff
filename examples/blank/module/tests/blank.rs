//! What the module does with its inputs, on SQLite and on PostgreSQL.

use anyhow::Result;
use pangaea_blank::BlankModule;
use pangaea_blank_contracts::{Write, Written};
use pangaea_contracts::{Actor, Role};
use pangaea_testkit::scenario::{Place, Scenario};
use serde_json::json;

fn staff() -> Actor {
    Actor::user("usr_staff", [Role::Staff])
}

#[tokio::test]
async fn an_entry_is_written_and_written_again() -> Result<()> {
    for place in Place::all() {
        let mut scenario = Scenario::builder().module(BlankModule).on(place).start().await?;
        let first = Write { entry: "about".into(), text: "one".into() };
        scenario.ask(&staff(), &first).await?.answered(200)?.said(&["blank.evt.written.v1"])?;
        let second = Write { text: "two".into(), ..first };
        let written: Written = scenario.ask(&staff(), &second).await?.answered(200)?.only()?;
        assert_eq!(written, Written { entry: "about".into(), version: 2 });
        scenario.expect_rows("blank", "SELECT entry, version, text FROM entry", &["about | 2 | two"]).await?;
        scenario.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn staff_write_and_everybody_reads() -> Result<()> {
    let scenario = Scenario::builder().module(BlankModule).start().await?;
    let (staff, visitor) = (scenario.client(&staff()), scenario.anonymous());
    let entry = json!({ "entry": "about", "text": "one" });
    visitor.post("/v1/blank", "k", entry.clone()).await?.expect_problem(401, "unauthenticated")?;
    let too_long = json!({ "entry": "", "text": "x".repeat(2_001) });
    assert_eq!(staff.post("/v1/blank", "k", too_long).await?.expect(422)?.pointers(), ["/entry", "/text"]);
    visitor.get("/v1/blank/about").await?.expect_problem(404, "not-found")?;

    let first = staff.post("/v1/blank", "one", entry.clone()).await?.expect(200)?;
    let again = staff.post("/v1/blank", "one", entry).await?.expect(200)?;
    assert_eq!(first.body, again.body, "a repeat is answered as the first");
    let read = visitor.get("/v1/blank/about").await?.expect(200)?;
    assert_eq!(read.body, first.body);
    let tag = read.required("etag")?.to_owned();
    visitor.send("GET", "/v1/blank/about", &[("if-none-match", &tag)], None).await?.expect(304)?;
    scenario.close().await
}
