//! Reading what has become of an order: streams, conditional reads, lists, payments.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pangaea_testkit::{Answer, Api, Call};

use super::ordering::id_of;
use crate::{Shop, ask_to_place};

/// A stream of a settled order must not be held open.
const STREAM_MAX: Duration = Duration::from_secs(60);

pub(super) async fn server_sent_events(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 100).await?;
    let placed = ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_ok").send().await?.expect(202)?;
    let path = format!("/v1/orders/{}/events", placed.text_at("id")?);
    let (names, last_id) = follow(shop.customer.get(&path)).await?;
    ensure!(names == ["placed", "reserved", "authorized", "committed", "confirmed"], "{names:?}");
    ensure!(last_id == "5", "{last_id}");
    Ok(())
}

pub(super) async fn resumed_events(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 100).await?;
    let order = shop.confirmed(&sku, 1).await?;
    let path = format!("/v1/orders/{}/events", id_of(&order)?);
    let (names, _) = follow(shop.customer.get(&path).header("last-event-id", "3")).await?;
    ensure!(names == ["committed", "confirmed"], "{names:?}");
    // Nothing more will come, and 204 tells an EventSource to stay away.
    shop.customer.get(&path).header("last-event-id", "5").send().await?.expect(204)?;
    shop.customer.get(&path).header("last-event-id", "five").send().await?.expect_problem(400, "malformed-request")?;
    Ok(())
}

/// Reads a stream to its end: the names of its events, and the last id.
async fn follow(call: Call) -> Result<(Vec<String>, String)> {
    let mut response = call.open().await?;
    ensure!(response.status().as_u16() == 200, "{}", response.status());
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    ensure!(content_type.starts_with("text/event-stream"), "{content_type}");
    let mut text = String::new();
    let read = async {
        while let Some(chunk) = response.chunk().await? {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(STREAM_MAX, read).await {
        Ok(read) => read?,
        Err(_) => bail!("the stream did not end; so far:\n{text}"),
    }
    let values = |field: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned()).collect()
    };
    let last = values("id:").pop().context("a stream without ids")?;
    Ok((values("event:"), last))
}

pub(super) async fn conditional_reads(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 100).await?;
    let order = shop.confirmed(&sku, 1).await?;
    let payment = shop.payment_of(id_of(&order)?).await?.context("no payment")?;
    let paths = [
        (&shop.customer, format!("/v1/orders/{}", id_of(&order)?)),
        (&shop.customer, format!("/v1/payments/{payment}")),
        (&shop.customer, "/v1/users/me".to_owned()),
        (&shop.staff, format!("/v1/products/{}", sku.product_id)),
        (&shop.staff, format!("/v1/skus/{}/prices", sku.code)),
    ];
    for (api, path) in &paths {
        let read = api.get(path).send().await?.expect(200)?;
        let tag = read.required("etag")?;
        ensure!(tag.starts_with('"') && tag.ends_with('"'), "{path}: {tag} is no strong tag");
        let same = api.get(path).header("if-none-match", tag).send().await?.expect(304)?;
        ensure!(same.text.is_empty() && same.header("etag") == Some(tag), "{path}");
        api.get(path).header("if-none-match", "\"no such tag\"").send().await?.expect(200)?;
    }
    Ok(())
}

pub(super) async fn pages_of_orders(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(10, 100).await?;
    let mut placed = BTreeSet::new();
    for _ in 0..5 {
        let answer = ask_to_place(&shop.other, &[(&sku.code, 1)], "tok_ok").wait(30).send().await?.expect(200)?;
        placed.insert(answer.text_at("id")?.to_owned());
    }
    let pages = pages(&shop.other, "/v1/orders?limit=2&state=confirmed").await?;
    ensure!(pages.iter().map(Vec::len).collect::<Vec<_>>() == [2, 2, 1], "{pages:?}");
    let listed: Vec<String> = pages.into_iter().flatten().collect();
    ensure!(listed.iter().cloned().collect::<BTreeSet<_>>() == placed, "{listed:?} is not {placed:?}");
    ensure!(listed.iter().rev().is_sorted(), "not the newest first: {listed:?}");
    shop.other.get("/v1/orders?limit=201").send().await?.expect_problem(422, "invalid")?;
    shop.other.get("/v1/orders?cursor=nonsense").send().await?.expect_problem(400, "malformed-request")?;
    shop.other.get("/v1/orders?customer_reference=x").send().await?.expect_problem(403, "forbidden")?;
    Ok(())
}

/// The ids on each page of a list, following `Link: rel="next"`.
pub(super) async fn pages(api: &Api, path: &str) -> Result<Vec<Vec<String>>> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        ensure!(pages.len() < 100, "the pages of {path} do not end");
        let page = api.get(&path).send().await?.expect(200)?;
        let items = page.body["items"].as_array().with_context(|| format!("{path}: no items"))?;
        pages.push(items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect());
        next = next_link(&page)?;
    }
    Ok(pages)
}

fn next_link(page: &Answer) -> Result<Option<String>> {
    let Some(link) = page.header("link") else {
        ensure!(page.body["next_cursor"].is_null(), "a cursor without a link: {}", page.text);
        return Ok(None);
    };
    let (target, relation) = link.split_once('>').with_context(|| format!("{link} is no link"))?;
    ensure!(relation.contains("rel=\"next\""), "{link}");
    Ok(target.strip_prefix('<').map(str::to_owned))
}

pub(super) async fn payments(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 4_200).await?;
    let order = shop.confirmed(&sku, 1).await?;
    let id = shop.payment_of(id_of(&order)?).await?.context("no payment")?;
    let read = shop.customer.get(&format!("/v1/payments/{id}")).send().await?.expect(200)?;
    ensure!(read.body["captured"] == crate::shop::pence(4_200), "{}", read.text);
    shop.other.get(&format!("/v1/payments/{id}")).send().await?.expect_problem(404, "not-found")?;
    shop.customer.get("/v1/payments/ledger/balances").send().await?.expect_problem(403, "forbidden")?;
    let balances = shop.staff.get("/v1/payments/ledger/balances").send().await?.expect(200)?;
    let captured = balances.body["balances"][0]["captured"].as_i64().context("no balance")?;
    let ledger = shop.store.ledger()?;
    let truth = ledger.totals.get("GBP").map(|totals| totals.captured);
    ensure!(truth == Some(captured.into()), "payment says {captured}, the provider {truth:?}");
    Ok(())
}
