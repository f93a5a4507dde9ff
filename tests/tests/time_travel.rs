//! A recording is looked into: the story of one order, one input after the other, what the tables held at some moment. And
//! its commands drive another store, which ends with the same orders.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Api, Folder, Output, Placement, Process, eventually, program};
use pangaea_tests::{Shop, ask_to_place, is_settled};
use serde_json::{Value, json};

const RUN_MAX: Duration = Duration::from_secs(180);
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// One code for what was answered otherwise than recorded.
const DIFFERS: i32 = 4;
const STEPS: &str = "\
n
/order.rpc.place
s orders
g 1
g 100000
g user 1
c
h
nonsense
";

/// Runs a command on a terminal of its own, types a line whenever it is asked for one, and prints what the terminal showed.
const ON_A_TERMINAL: &str = "
import os, pty, select, sys, time

process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown, lines, until = b'', [b'\\r', b's orders\\r', b'q\\r'], time.monotonic() + 60
while time.monotonic() < until:
    if not select.select([terminal], [], [], 1)[0]:
        continue
    try:
        some = os.read(terminal, 65536)
    except OSError:
        break
    if not some:
        break
    shown += some
    if shown.endswith(b'> ') and lines:
        os.write(terminal, lines.pop(0))
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) & 255)
";

/// A store's recording, where the store is gone.
struct Recorded {
    folder: Folder,
    /// What its orders became: state and total, sorted.
    orders: Vec<(String, i64)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_followed_and_rows_are_shown_as_of_then() -> Result<()> {
    let shop = Shop::open(Placement::TogetherMemory).await?;
    let sku = shop.new_sku_as("TRAVEL-1", 10, 650).await?;
    let confirmed = shop.confirmed(&sku, 2).await?;
    let short = shop.place(&[(&sku.code, 100)], "tok_ok").await?;
    ensure!(short["state"] == "cancelled", "{short}");
    let id = confirmed["id"].as_str().context("an id")?.to_owned();
    let recorded = Recorded::of(shop, &[]).await?;

    let placed_at = is_a_story(&recorded, &id).await?;
    rows_are_those_of_then(&recorded, &id, placed_at).await?;
    inputs_are_gone_through(&recorded, &id).await?;

    // It is redacted: another token pays in place of the recorded ones.
    let other = Shop::open(Placement::TogetherMemory).await?;
    let report = recorded.drive(&other, &["--speed", "max"]).await?.success()?;
    let report: Value = serde_json::from_str(&report.stdout)?;
    ensure!(report["payment_token"] == "tok_ok" && report["lateness"].is_null(), "{report:#}");
    recorded.has_the_same_orders(&other).await?;
    other.close().await?;
    recorded.folder.set_clean();
    Ok(())
}

/// Gives the position of the command that placed it.
async fn is_a_story(recorded: &Recorded, id: &str) -> Result<u64> {
    let told = recorded.replay(&["--until", id, "--json"]).await?.success()?;
    let told: Value = serde_json::from_str(&told.stdout)?;
    let inputs = told["inputs"].as_array().context("inputs")?;
    let first = &inputs[0];
    ensure!(first["input"]["subject"] == "order.rpc.place.v1" && first["module"] == "order", "{first:#}");
    let said = first["said"].as_array().context("what it said")?;
    let has = |kind: &str| said.iter().any(|one| one["kind"] == kind);
    ensure!(has("message") && has("timer") && has("answer"), "{first:#}");
    let rows = first["rows"].as_array().context("rows")?;
    let order = rows.iter().find(|row| row["table"] == "orders").context("the order's row")?;
    ensure!(order["key"]["id"] == id && order["before"].is_null() && order["after"]["state"] == "placed", "{order:#}");
    for module in ["order", "product", "payment"] {
        ensure!(inputs.iter().any(|input| input["module"] == module), "nothing of {module}: {told:#}");
    }
    let times: Vec<_> = inputs.iter().map(|input| input["input"]["admitted_at"].as_str()).collect();
    ensure!(times.is_sorted(), "{times:?}");
    ensure!(inputs.iter().all(|input| input["changes"] == json!([])), "{told:#}");
    let effects = inputs.iter().flat_map(|input| input["said"].as_array().into_iter().flatten());
    ensure!(effects.into_iter().any(|one| one["kind"] == "effect"), "{told:#}");

    let text = recorded.replay(&["--until", id]).await?.success()?.stdout;
    for part in ["order.rpc.place.v1", "says    order.evt.placed.v1", "effect  payment.eff.", "answer  202", "state:"] {
        ensure!(text.contains(part), "{part} is not told: {text}");
    }
    ensure!(text.contains("\"placed\" → ") && text.contains("all as recorded"), "{text}");
    let unknown = recorded.replay(&["--until", "ord_00000000000000000000000000"]).await?.failure()?;
    ensure!(unknown.status.code() == Some(1), "{:?}", unknown.status);
    ensure!(
        unknown.stderr.contains("no recorded input of product, order, payment, user concerns"),
        "{}",
        unknown.stderr
    );
    first["input"]["position"].as_u64().context("a position")
}

async fn rows_are_those_of_then(recorded: &Recorded, id: &str, placed_at: u64) -> Result<()> {
    let at = |place: &str| {
        let args = ["state", "--at", place, "--module", "order", "--table", "orders", "--key", id, "--json"];
        args.map(str::to_owned)
    };
    for (position, expected) in [(placed_at - 1, None), (placed_at, Some("placed")), (placed_at + 1, None)] {
        let args = at(&position.to_string());
        let state = recorded.replay(&args.each_ref().map(String::as_str)).await?.success()?;
        let state: Value = serde_json::from_str(&state.stdout)?;
        let module = &state["modules"][0];
        ensure!(module["last"]["position"] == position, "{state:#}");
        let row = &module["tables"][0]["rows"][0];
        match expected {
            Some(expected) => ensure!(row["state"] == expected, "{state:#}"),
            None if position < placed_at => ensure!(row.is_null(), "{state:#}"),
            None => {}
        }
    }
    let end = "2100-01-01T00:00:00Z";
    let args = at(end);
    let state = recorded.replay(&args.each_ref().map(String::as_str)).await?.success()?;
    let state: Value = serde_json::from_str(&state.stdout)?;
    ensure!(state["modules"][0]["tables"][0]["rows"][0]["state"] == "confirmed", "{state:#}");

    let text = recorded.replay(&["state", "--at", end, "--table", "timeline", "--limit", "3"]).await?.success()?.stdout;
    ensure!(text.contains("order, up to input") && text.contains("timeline: 3 rows, and "), "{text}");
    for (args, said) in [
        (["--at", "100000", "--module", "order"], "positions 1 to "),
        (["--at", "2001-01-01T00:00:00Z", "--module", "order"], "outside of the recording"),
        (["--at", end, "--table", "nothing"], "there is no table \"nothing\""),
        (["--at", end, "--module", "nothing"], "the recording holds"),
    ] {
        let refused = recorded.replay(&[&["state"][..], &args].concat()).await?.failure()?;
        ensure!(refused.stderr.contains(said), "{args:?}: {}", refused.stderr);
    }
    let help = recorded.replay(&["state", "--help"]).await?.success()?.stdout;
    ensure!(help.contains("--at <T|POS>") && help.contains("Examples:"), "{help}");
    Ok(())
}

async fn inputs_are_gone_through(recorded: &Recorded, id: &str) -> Result<()> {
    let shown = recorded.step(STEPS, &["--modules", "order"]).await?.success()?.stdout;
    let position = |number: u64| format!("  order {number}  ");
    ensure!(shown.matches(&position(1)).count() == 2, "the first is shown at the start and after g 1: {shown}");
    ensure!(shown.contains(&position(2)) && shown.contains("order.rpc.place.v1"), "{shown}");
    ensure!(shown.contains("order orders: ") && shown.contains("as recorded"), "{shown}");
    for said in [
        "there is no such input",
        "no module \"user\" here",
        "all as recorded",
        "  /TEXT",
        "\"nonsense\" is no command",
    ] {
        ensure!(shown.contains(said), "{said}: {shown}");
    }
    // All modules, merged by time, up to the last that concerns the order; q ends.
    let shown = recorded.step("c\nn\nq\nn\n", &["--until", id]).await?.success()?.stdout;
    ensure!(shown.matches("this is the end").count() == 2, "{shown}");
    let shown = recorded.step(&format!("/{id}\ns orders {id}\ng 1\n"), &[]).await?.success()?.stdout;
    ensure!(shown.contains("order orders: 1 rows") && shown.contains("a position is one of a module"), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_waits_for_commands() -> Result<()> {
    let recorded = Recorded::of(Shop::open(Placement::TogetherMemory).await?, &[]).await?;
    let script = recorded.folder.join("terminal.py");
    std::fs::write(&script, ON_A_TERMINAL)?;
    let program = program()?.display().to_string();
    let mut python = Process::new("python3", Path::new("python3"), recorded.folder.path());
    python.args(&[&script, &program, "replay", "day.rec", "--step", "--modules", "order"]);
    python.set_variable("TERM", Some("xterm"));
    let shown = python.run(RUN_MAX).await?.success()?.stdout;
    ensure!(shown.contains("\u{1b}[") && shown.contains("order 1  ") && shown.contains("order 2  "), "{shown}");
    ensure!(shown.contains("orders: no rows") && shown.matches("> ").count() >= 3, "{shown}");
    recorded.folder.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_commands_drive_another_store() -> Result<()> {
    let recorded = a_day(Shop::open(Placement::TogetherMemory).await?).await?;

    let at_once = Shop::open(Placement::TogetherMemory).await?;
    let args = ["--speed", "max", "--run", "one"];
    let first = recorded.drive(&at_once, &args).await?.success()?;
    let first: Value = serde_json::from_str(&first.stdout)?;
    ensure!(first["other_class"] == 0 && first["payment_token"].is_null(), "{first:#}");
    let by_subject = &first["sent_by_subject"];
    for (subject, count) in [
        ("order.rpc.cancel.v1", 2),
        ("order.rpc.refund.v1", 1),
        ("product.rpc.create_product.v1", 3),
        ("product.rpc.set_price.v1", 1),
        ("product.rpc.adjust_stock.v1", 1),
        ("product.rpc.revise_product.v1", 1),
        ("product.rpc.withdraw_product.v1", 1),
    ] {
        ensure!(by_subject[subject] == count, "{subject}: {first:#}");
    }
    let skipped = first["skipped"].as_object().context("skipped")?;
    ensure!(skipped.keys().any(|reason| reason.starts_with("user: ")), "{first:#}");
    recorded.has_the_same_orders(&at_once).await?;
    let name = at_once.staff.get("/v1/skus/DAY-3").send().await?.expect(200)?;
    ensure!(name.body["withdrawn"] == true && name.body["price"]["amount"] == 175, "{}", name.text);

    // A repeat of the same run is answered the same and does nothing.
    let again = recorded.drive(&at_once, &args).await?.success()?;
    let again: Value = serde_json::from_str(&again.stdout)?;
    ensure!(again["repeats"] == again["sent"] && again["sent"] == first["sent"], "{again:#}");
    recorded.has_the_same_orders(&at_once).await?;

    // Another run is new: the codes of its products are taken now.
    let other = recorded.drive(&at_once, &["--speed", "max", "--run", "two", "--modules", "product"]).await?;
    ensure!(other.status.code() == Some(DIFFERS), "{}", other.stdout);
    let other: Value = serde_json::from_str(&other.stdout)?;
    ensure!(other["otherwise"]["201 → 409"] == 3 && other["repeats"] == 0, "{other:#}");
    at_once.close().await?;

    let paced = Shop::open(Placement::TogetherMemory).await?;
    let report = recorded.drive(&paced, &["--speed", "4"]).await?.success()?;
    let report: Value = serde_json::from_str(&report.stdout)?;
    ensure!(report["lateness"]["count"] == report["sent"] && report["sent"] == first["sent"], "{report:#}");
    recorded.has_the_same_orders(&paced).await?;
    paced.close().await?;

    wrong_ways_are_refused(&recorded).await?;
    recorded.folder.set_clean();
    Ok(())
}

/// Orders that are confirmed, out of stock, cancelled and refunded, a cancellation that is refused, and products that change.
async fn a_day(shop: Shop) -> Result<Recorded> {
    let plenty = shop.new_sku_as("DAY-1", 50, 300).await?;
    let scarce = shop.new_sku_as("DAY-2", 1, 4_500).await?;
    let changing = shop.new_sku_as("DAY-3", 5, 150).await?;
    for quantity in 1..=3 {
        shop.confirmed(&plenty, quantity).await?;
    }
    let short = shop.place(&[(&scarce.code, 3)], "tok_ok").await?;
    ensure!(short["state"] == "cancelled", "{short}");
    let declined = shop.place(&[(&plenty.code, 5)], "tok_declined").await?;
    ensure!(declined["state"] == "cancelled", "{declined}");

    let waits = ask_to_place(&shop.customer, &[(&plenty.code, 7)], "tok_action_required").send().await?.expect(202)?;
    let path = format!("/v1/orders/{}/cancel", waits.text_at("id")?);
    shop.customer.post(&path, json!({ "reason": "too slow" })).send().await?.expect(202)?;
    shop.reaches(&shop.customer, waits.text_at("id")?, "cancelled").await?;
    shop.customer.post(&path, json!({})).send().await?;

    let back = shop.confirmed(&plenty, 4).await?;
    let id = back["id"].as_str().context("an id")?;
    shop.staff.post(&format!("/v1/orders/{id}/refunds"), json!({ "restock": true })).send().await?.expect(202)?;
    eventually("the refund", SETTLED_MAX, async || {
        let order = shop.staff.get(&format!("/v1/orders/{id}")).send().await?.expect(200)?.body;
        Ok((order["state"] == "refunded").then_some(()))
    })
    .await?;

    let path = format!("/v1/skus/{}/adjustments", changing.code);
    shop.staff.post(&path, json!({ "delta": -2, "reason": "broken" })).send().await?.expect(200)?;
    let change =
        |method: &str, path: String, version: &str| shop.staff.call_named(method, &path).header("if-match", version);
    let price = json!({ "amount": 175, "currency": "GBP" });
    let put = change("PUT", format!("/v1/skus/{}/price", changing.code), "\"1\"").json(price);
    put.send().await?.expect(200)?;
    let product = format!("/v1/products/{}", changing.product_id);
    change("PATCH", product.clone(), "*").json(json!({ "name": "Changed" })).send().await?.expect(200)?;
    change("DELETE", product, "*").send().await?.expect(204)?;
    Recorded::of(shop, &["--unredacted"]).await
}

async fn wrong_ways_are_refused(recorded: &Recorded) -> Result<()> {
    let nowhere = "http://127.0.0.1:9";
    for (args, code, said) in [
        (&["--live", nowhere, "--speed", "0"][..], 2, "greater than 0"),
        (&["--live", nowhere, "--speed", "-1"], 2, "greater than 0"),
        (&["--live", nowhere, "--step"], 2, "cannot be used with"),
        (&["--run", "x"], 2, "--live"),
        (&["--live", nowhere], 1, "is the store running"),
    ] {
        let refused = recorded.replay(args).await?.failure()?;
        ensure!(refused.status.code() == Some(code), "{args:?}: {:?} {}", refused.status, refused.stderr);
        ensure!(refused.stderr.contains(said), "{args:?}: {}", refused.stderr);
    }
    Ok(())
}

// === impl Recorded ===

impl Recorded {
    /// Records and stops the store.
    async fn of(shop: Shop, options: &[&str]) -> Result<Self> {
        let orders = settled_orders(&shop.staff).await?;
        let folder = Folder::new("travel")?;
        let file = folder.join("day.rec");
        shop.store.run(&[&["record", "-o", &file][..], options].concat()).await?.success()?;
        shop.close().await?;
        Ok(Self { folder, orders })
    }

    async fn replay(&self, args: &[&str]) -> Result<Output> {
        let mut process = Process::new("replay", program()?, self.folder.path());
        process.args(&["replay", "day.rec"]).args(args);
        process.run(RUN_MAX).await
    }

    /// With these lines as the commands.
    async fn step(&self, lines: &str, args: &[&str]) -> Result<Output> {
        std::fs::write(self.folder.join("lines"), lines)?;
        let mut process = Process::new("step", Path::new("/bin/sh"), self.folder.path());
        let program = program()?.display().to_string();
        process.args(&["-c", "exec \"$0\" \"$@\" < lines", &program, "replay", "day.rec", "--step"]).args(args);
        process.run(RUN_MAX).await
    }

    async fn drive(&self, shop: &Shop, args: &[&str]) -> Result<Output> {
        self.replay(&[&["--live", shop.store.api().base(), "--json"][..], args].concat()).await
    }

    async fn has_the_same_orders(&self, shop: &Shop) -> Result<()> {
        let mut orders = Vec::new();
        // A refund is under way on an order that has settled.
        let found = eventually("the recorded orders", SETTLED_MAX, async || {
            orders = settled_orders(&shop.staff).await?;
            Ok((orders == self.orders).then_some(()))
        });
        found.await.with_context(|| format!("recorded {:?}, now {orders:?}", self.orders))
    }
}

/// State and total of every order, once all have settled.
async fn settled_orders(staff: &Api) -> Result<Vec<(String, i64)>> {
    let items = eventually("all orders to settle", SETTLED_MAX, async || {
        let page = staff.get("/v1/orders?limit=200").send().await?.expect(200)?.body;
        let items = page["items"].as_array().context("orders")?.clone();
        Ok(items.iter().all(is_settled).then_some(items))
    })
    .await?;
    let of = |item: &Value| {
        let total = item["total"]["amount"].as_i64().context("a total")?;
        Ok((item["state"].as_str().context("a state")?.to_owned(), total))
    };
    let mut orders = items.iter().map(of).collect::<Result<Vec<_>>>()?;
    orders.sort();
    Ok(orders)
}
