//! The rough time: one step after the other, each drawn from what is possible.

use pangaea_faults::{Action, Failpoint};

use crate::world::World;

/// Steps of a rough time.
const STEPS: (i64, i64) = (70, 210);
const ORDERS_MAX: i64 = 6;
/// Requests of a rough time beside those that place the orders, at most.
const REQUESTS_MAX: usize = 7;

/// What may be done next.
#[derive(Clone, Debug)]
enum Move {
    /// The clients ask for something new.
    Ask,
    /// A request without an answer is sent again.
    Retry(usize),
    /// A request is sent once more, whatever became of it.
    Repeat,
    Batch(usize),
    Relay(usize),
    Deliver(usize, String),
    /// From an earlier position.
    DeliverAgain(usize, String),
    /// From a later position than was read.
    DeliverBeyond(usize, String),
    Effect(usize, String),
    /// Some milliseconds pass.
    Pass,
    /// The time of the next thing that is due comes.
    Jump,
    Late,
    /// A payer acts.
    Confirm(String),
    Start(usize),
    Kill(usize),
    /// A drained stop, and a start.
    Restart(usize),
    BrokerLoses(String),
    BrokerLeaves,
    ProviderLeaves,
    /// The modules' own invariants hold at any time.
    Look,
}

// === impl World: the rough time ===

impl World {
    /// Draws how this run goes, and starts every process.
    ///
    /// # Errors
    /// When one cannot start.
    pub(crate) async fn begin(&mut self) -> Result<(), String> {
        self.together = self.random.chance(35);
        if !self.together {
            for host in &mut self.hosts {
                host.skew_ms = self.random.between(-1_500, 1_500);
            }
        }
        for index in 0..self.hosts.len() {
            self.start(index).await?;
        }
        let scale = self.random.pick(&[1, 2, 8]).copied().unwrap_or(1);
        self.set_deadlines(scale);
        self.orders = self.random.between(2, ORDERS_MAX) as usize;
        let placement = if self.together { "together" } else { "apart" };
        self.step(&format!("{placement}, deadlines by {scale}, {} orders", self.orders));
        Ok(())
    }

    /// Takes step after step while everything may fail. In a second one the orders of the first are there to be refunded.
    ///
    /// # Errors
    /// What the simulation finds wrong.
    pub(crate) async fn rough_time(&mut self) -> Result<(), String> {
        self.set_calm(false);
        self.requests_max = self.clients.requests.len() + self.orders + REQUESTS_MAX;
        for _ in 0..self.random.between(STEPS.0, STEPS.1) {
            let moves = self.moves();
            let weights: Vec<(u64, usize)> =
                moves.iter().enumerate().map(|(index, (weight, _))| (*weight, index)).collect();
            let Some(index) = self.random.weighted(&weights) else { break };
            self.take(moves[index].1.clone()).await?;
        }
        Ok(())
    }

    fn moves(&mut self) -> Vec<(u64, Move)> {
        let mut moves = vec![(10, Move::Pass), (4, Move::Jump)];
        if self.random.chance(40) {
            moves.push((1, Move::Look));
        }
        let requests = self.clients.requests.len();
        if requests < self.requests_max {
            moves.push((if self.clients.accepted().len() < self.orders { 14 } else { 5 }, Move::Ask));
        }
        moves.extend(self.clients.unanswered().into_iter().map(|request| (4, Move::Retry(request))));
        if requests > 0 {
            moves.push((3, Move::Repeat));
        }
        moves.extend(self.writers_with_work().into_iter().map(|index| (36, Move::Batch(index))));
        moves.extend(self.relays_behind().into_iter().map(|index| (30, Move::Relay(index))));
        moves.extend(self.readers_behind().into_iter().map(|(index, source)| (30, Move::Deliver(index, source))));
        moves.extend(self.effects_due().into_iter().map(|(index, id)| (28, Move::Effect(index, id))));
        if self.till.next_late_ms().is_some_and(|due| due <= self.now_ms) {
            moves.push((15, Move::Late));
        }
        moves.extend(self.till.waiting_for_payer().into_iter().map(|intent| (2, Move::Confirm(intent))));
        self.add_faults(&mut moves);
        moves
    }

    fn add_faults(&mut self, moves: &mut Vec<(u64, Move)>) {
        let index = self.random.index(self.hosts.len());
        for (down, host) in self.hosts.iter().enumerate() {
            if host.up.is_none() {
                moves.push((25, Move::Start(down)));
            }
        }
        let Some(up) = &self.hosts[index].up else { return };
        if self.random.chance(60) {
            moves.push((1, Move::Kill(index)));
        }
        if up.is_idle() && self.random.chance(35) {
            moves.push((1, Move::Restart(index)));
        }
        let free: Vec<String> =
            up.readers.iter().filter(|(_, reader)| !reader.busy).map(|(name, _)| name.clone()).collect();
        if let Some(source) = self.random.pick(&free).cloned() {
            moves.push((4, Move::DeliverAgain(index, source.clone())));
            moves.push((1, Move::DeliverBeyond(index, source)));
        }
        moves.push((1, Move::ProviderLeaves));
        if !self.together {
            moves.push((1, Move::BrokerLoses(self.hosts[index].name.to_owned())));
            moves.push((1, Move::BrokerLeaves));
        }
    }

    async fn take(&mut self, chosen: Move) -> Result<(), String> {
        match chosen {
            Move::Ask => {
                let more = self.clients.accepted().len() < self.orders;
                if let Some(request) = self.clients.ask(&mut self.random, self.now_ms, more) {
                    self.send(request, "asks");
                }
            }
            Move::Retry(request) => self.send(request, "asks again"),
            Move::Repeat => {
                let request = self.random.index(self.clients.requests.len());
                self.send(request, "repeats");
            }
            Move::Batch(index) => self.run_batch(index).await?,
            Move::Relay(index) => {
                self.perhaps(
                    6,
                    &[
                        Failpoint::AppendBefore,
                        Failpoint::AppendAfter,
                        Failpoint::AppendAckBefore,
                        Failpoint::AppendAckAfter,
                    ],
                );
                let rows = self.random.index(12) + 1;
                self.relay(index, rows).await?;
            }
            Move::Deliver(index, source) => {
                let rows = self.random.index(16) + 1;
                self.deliver(index, &source, rows, None).await?;
            }
            Move::DeliverAgain(index, source) => self.deliver_from(index, &source, false).await?,
            Move::DeliverBeyond(index, source) => self.deliver_from(index, &source, true).await?,
            Move::Effect(index, id) => {
                self.perhaps(
                    8,
                    &[
                        Failpoint::TryBefore,
                        Failpoint::ProviderCallBefore,
                        Failpoint::ProviderCallAfter,
                        Failpoint::ProviderReplyBefore,
                        Failpoint::ProviderReplyAfter,
                    ],
                );
                self.go_on_with_effect(index, &id).await?;
            }
            Move::Late => {
                self.till.set_now(self.now_ms);
                self.till.let_late_in()?;
                for note in self.till.take_notes() {
                    self.step(&note);
                }
            }
            Move::Confirm(intent) => {
                self.till.set_now(self.now_ms);
                let status = self.till.confirm(&intent)?;
                self.step(&format!("the payer confirms {intent}: {status}"));
            }
            Move::Start(index) => {
                self.perhaps(6, &[Failpoint::LeaseBefore, Failpoint::LeaseAfter]);
                self.start(index).await?;
            }
            Move::Look => self.look().await?,
            Move::Pass | Move::Jump => self.let_time_pass(matches!(chosen, Move::Jump)),
            Move::Kill(_) | Move::Restart(_) | Move::BrokerLoses(_) | Move::BrokerLeaves | Move::ProviderLeaves => {
                self.trouble(chosen).await?;
            }
        }
        self.crashes.disarm();
        self.note_failure();
        Ok(())
    }

    async fn trouble(&mut self, chosen: Move) -> Result<(), String> {
        match chosen {
            Move::Kill(index) => {
                *self.counts.faults.crashes.entry("between steps").or_insert(0) += 1;
                self.kill(index, "between steps");
            }
            Move::Restart(index) => {
                let name = self.hosts[index].name;
                self.step(&format!("{name} stops"));
                self.counts.restarts += 1;
                self.hosts[index].stop().await.map_err(|error| format!("{name} cannot stop: {error}"))?;
                self.start(index).await?;
            }
            Move::BrokerLoses(source) => {
                let stream = self.broker.streams.entry(source.clone()).or_default();
                let kept = self.random.index(stream.len() + 1);
                let lost = stream.len() - kept;
                stream.truncate(kept);
                self.counts.messages_lost += lost as u64;
                self.step(&format!("the broker loses the last {lost} of {source}"));
            }
            Move::BrokerLeaves => {
                self.broker.away_until_ms = self.now_ms + self.random.between(100, 6_000);
                self.step("the broker is away");
            }
            _ => {
                let until_ms = self.now_ms + self.random.between(500, 20_000);
                self.till.go_away(until_ms);
                self.step("the provider is away");
            }
        }
        Ok(())
    }

    async fn deliver_from(&mut self, index: usize, source: &str, beyond: bool) -> Result<(), String> {
        let Some(reader) = self.hosts[index].up.as_ref().and_then(|up| up.readers.get(source)).copied() else {
            return Ok(());
        };
        let step = self.random.below(4) + 1;
        let from = if beyond { reader.seen + step } else { reader.seen.saturating_sub(step * 2) };
        let rows = self.random.index(10) + 1;
        self.deliver(index, source, rows, Some(from)).await
    }

    fn let_time_pass(&mut self, jump: bool) {
        let due = self.next_due_ms().filter(|due| jump && *due > self.now_ms);
        self.now_ms = match due {
            Some(due) => due,
            None if self.random.chance(3) => self.now_ms + self.random.between(1_000, 60_000),
            None => self.now_ms + self.random.between(1, 250),
        };
    }

    /// When the next thing happens by itself.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        self.hosts.iter().filter_map(crate::host::Host::next_due_ms).chain(self.till.next_late_ms()).min()
    }

    /// In so many of a hundred cases the next step meets a fault at one of these points.
    fn perhaps(&mut self, percent: u64, points: &[Failpoint]) {
        if self.random.chance(percent)
            && let Some(point) = self.random.pick(points).copied()
        {
            let action = if self.random.chance(60) { Action::Crash } else { Action::Fail };
            self.crashes.arm(point, 1, action);
        }
    }
}
