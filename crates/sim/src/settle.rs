//! The end of a run: nothing fails any more, and time passes until nothing is left to do.

use std::collections::BTreeSet;

use pangaea_order::State;

use crate::world::World;

/// Rounds until everything is at rest, at most. A round does all that can be done, or lets time pass to the next thing due.
const ROUNDS_MAX: u32 = 6_000;

// === impl World: settling ===

impl World {
    /// Ends the rough time, and goes on until nothing is left to do: no work, no effect, no timer, no message on its way.
    ///
    /// # Errors
    /// When it does not come to rest, or the simulation finds something wrong on the way.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        self.set_calm(true);
        self.come_to_rest().await?;
        // Staff end what waits for a person, so that every order ends.
        let Some(up) = &self.hosts[self.index_of("order")].up else { return Err("order is down".to_owned()) };
        let totals = pangaea_order::totals(&up.database, None, 1_000).await.map_err(|error| error.to_string())?;
        let waiting = totals.into_iter().filter(|order| order.state == State::ManualReview);
        let reviews: Vec<_> = waiting.map(|order| order.order_id).collect();
        for order_id in reviews {
            self.counts.reviews += 1;
            if let Some(request) = self.clients.end_review(order_id) {
                self.send(request, "ends a review");
            }
        }
        self.come_to_rest().await
    }

    pub(crate) async fn come_to_rest(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            if self.do_what_can_be_done().await? {
                continue;
            }
            match self.next_due_ms() {
                Some(due) => self.now_ms = due.max(self.now_ms + 1),
                None => return Ok(()),
            }
        }
        let open: Vec<String> =
            self.hosts.iter().map(|host| format!("{}: {:?}", host.name, host.next_due_ms())).collect();
        Err(format!("not at rest after {ROUNDS_MAX} rounds; next due {}", open.join(", ")))
    }

    async fn do_what_can_be_done(&mut self) -> Result<bool, String> {
        let mut did = false;
        for index in 0..self.hosts.len() {
            if self.hosts[index].up.is_none() {
                self.start(index).await?;
                did = true;
            }
        }
        let waiting: BTreeSet<usize> =
            self.hosts.iter().filter_map(|host| host.up.as_ref()).flat_map(|up| up.requests()).collect();
        for request in self.clients.unanswered() {
            if !waiting.contains(&request) {
                self.send(request, "asks again");
                did = true;
            }
        }
        if self.till.next_late_ms().is_some_and(|due| due <= self.now_ms) {
            self.till.set_now(self.now_ms);
            self.till.let_late_in()?;
            did = true;
        }
        for index in self.relays_behind() {
            self.relay(index, usize::MAX).await?;
            did = true;
        }
        for (index, source) in self.readers_behind() {
            self.deliver(index, &source, usize::MAX, None).await?;
            did = true;
        }
        for (index, id) in self.effects_due() {
            self.go_on_with_effect(index, &id).await?;
            did = true;
        }
        for index in self.writers_with_work() {
            self.run_batch(index).await?;
            did = true;
        }
        Ok(did)
    }
}
