use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use pangaea_testkit::Api;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{Session, is_settled};

/// Orders that are asked about at once.
const ASKED_AT_ONCE: usize = 8;
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until all of these orders are settled, however the store answers meanwhile: each as it is then, by its id.
///
/// # Errors
/// When one is not settled `until` then, with what it is.
pub async fn settle(
    session: &Session,
    ids: impl IntoIterator<Item = String>,
    until: Instant,
) -> Result<BTreeMap<String, Value>> {
    let mut settled = BTreeMap::new();
    let mut waiting: Vec<String> = ids.into_iter().collect();
    loop {
        let mut unsettled = BTreeMap::new();
        for (id, order) in ask(&session.api().await, waiting).await? {
            match order {
                Ok(order) if is_settled(&order) => settled.insert(id, order),
                Ok(order) => unsettled.insert(id, order),
                Err(error) => unsettled.insert(id, Value::String(format!("{error:#}"))),
            };
        }
        if unsettled.is_empty() {
            return Ok(settled);
        }
        if Instant::now() >= until {
            let some: Vec<_> = unsettled.iter().take(3).map(|(id, last)| format!("{id}: {last}")).collect();
            bail!("{} orders are not settled in time, such as\n{}", unsettled.len(), some.join("\n"));
        }
        waiting = unsettled.into_keys().collect();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(api: &Api, mut ids: Vec<String>) -> Result<Vec<(String, Result<Value>)>> {
    let (mut calls, mut answers) = (JoinSet::new(), Vec::with_capacity(ids.len()));
    loop {
        while calls.len() < ASKED_AT_ONCE {
            let Some(id) = ids.pop() else { break };
            let call = api.get(&format!("/v1/orders/{id}"));
            calls.spawn(async move { (id, async { Ok(call.send().await?.expect(200)?.body) }.await) });
        }
        match calls.join_next().await {
            Some(answer) => answers.push(answer?),
            None => return Ok(answers),
        }
    }
}
