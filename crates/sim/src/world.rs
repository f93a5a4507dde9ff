//! The store and everything around it, in one thread: four modules, the broker, the provider, the clients, the time.

use std::path::Path;
use std::sync::Arc;

use pangaea_contracts::digest_text;
use pangaea_faults::Failpoint;
use pangaea_kernel::{Input, InputKind, Module, Work, settings_subject};
use pangaea_order::Order;
use pangaea_payment::Payment;
use pangaea_product::Product;
use pangaea_user::{User, UserConfig};
use serde_json::json;

use crate::broker::Broker;
use crate::clients::Clients;
use crate::crash::Crashes;
use crate::host::{Host, Job, Origin};
use crate::provider::Till;
use crate::random::Random;
use crate::trace::Trace;
use crate::{Counts, Sabotage};

/// When every simulation begins: some moment, the same for all.
pub(crate) const START_MS: i64 = 1_790_000_000_000;

pub(crate) struct World {
    pub(crate) folder: Box<Path>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) broker: Broker,
    pub(crate) till: Till,
    pub(crate) clients: Clients,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) crashes: Crashes,
    pub(crate) counts: Counts,
    /// The time outside of all processes.
    pub(crate) now_ms: i64,
    /// All modules share a process: they die together, and read each other's tables without a broker.
    pub(crate) together: bool,
    /// Orders that the clients place.
    pub(crate) orders: usize,
    /// Requests that the clients make, at most.
    pub(crate) requests_max: usize,
    /// No faults any more.
    pub(crate) calm: bool,
    pub(crate) sabotage: Option<Sabotage>,
    printed: bool,
}

// === impl World ===

impl World {
    /// The store in `folder`, with no process running yet. `printed`: each step goes to standard output.
    pub(crate) fn new(folder: &Path, seed: u64, printed: bool, sabotage: Option<Sabotage>) -> Self {
        let till = Till::new(seed);
        let user = UserConfig { sealing_key: [7; 32], first_admin: None, demo_accounts: false };
        let modules: [Box<dyn Module>; 4] = [
            Box::new(Product::new()),
            Box::new(Order::new()),
            Box::new(Payment::new(Arc::new(till.clone()))),
            Box::new(User::new(user)),
        ];
        Self {
            folder: folder.into(),
            hosts: modules.iter().map(|module| Host::new(module.define())).collect(),
            broker: Broker::default(),
            till,
            clients: Clients::default(),
            random: Random::new(seed, 0),
            trace: Trace::new(printed),
            crashes: Crashes::new(),
            counts: Counts::default(),
            now_ms: START_MS,
            together: true,
            orders: 0,
            requests_max: 0,
            calm: true,
            sabotage,
            printed,
        }
    }

    pub(crate) fn step(&mut self, text: &str) {
        self.trace.step(self.now_ms - START_MS, text);
    }

    /// Shows what belongs to the last step.
    pub(crate) fn say(&self, text: &str) {
        if self.printed {
            println!("                      {text}");
        }
    }

    /// Ends a rough time, or begins one.
    pub(crate) fn set_calm(&mut self, calm: bool) {
        self.calm = calm;
        self.till.set_calm(calm);
        self.broker.away_until_ms = 0;
        self.step(if calm { "nothing fails any more" } else { "everything may fail" });
    }

    pub(crate) fn index_of(&self, module: &str) -> usize {
        self.hosts.iter().position(|host| host.name == module).unwrap_or(0)
    }

    /// Starts a module's process, which may die on the way.
    ///
    /// # Errors
    /// When it cannot start without any fault.
    pub(crate) async fn start(&mut self, index: usize) -> Result<(), String> {
        let opened = self.hosts[index].open(&self.folder).await;
        self.crashes.disarm();
        let name = self.hosts[index].name;
        self.step(&format!("{name} starts"));
        let died = self.bury_the_dead(index, false);
        let failed = self.note_failure().is_some();
        match opened {
            Err(error) if !died && !failed => Err(format!("{name} cannot start: {error}")),
            _ => Ok(()),
        }
    }

    /// Where a failpoint has killed the process of `index`: takes away what it had in memory, and what the others had
    /// where they share it.
    pub(crate) fn bury_the_dead(&mut self, index: usize, in_batch: bool) -> bool {
        let Some(point) = self.crashes.take_death() else { return false };
        *self.counts.faults.crashes.entry(point.as_str()).or_insert(0) += 1;
        if in_batch {
            self.hosts[index].deaths_in_batch += 1;
        }
        self.kill(index, point.as_str());
        true
    }

    /// Where a failpoint has failed a step without a death, counted.
    pub(crate) fn note_failure(&mut self) -> Option<Failpoint> {
        let point = self.crashes.take_failure()?;
        *self.counts.faults.failures.entry(point.as_str()).or_insert(0) += 1;
        Some(point)
    }

    /// Ends a process without a word.
    pub(crate) fn kill(&mut self, index: usize, point: &str) {
        let name = self.hosts[index].name;
        let who = if self.together { "everything" } else { name };
        self.step(&format!("{who} dies at {point}"));
        for (other, host) in self.hosts.iter_mut().enumerate() {
            if other != index && !self.together {
                continue;
            }
            if let Some(up) = host.up.take() {
                if !up.is_idle() {
                    self.counts.deaths_with_work += 1;
                }
                // What could not be committed yet may have been attempted, and counts as such.
                if up.again.is_some() {
                    host.deaths_in_batch += 1;
                }
                self.counts.requests_cut += up.requests().len() as u64;
            }
        }
    }

    /// Puts a request of the clients into its module's lane; one whose module is down is not taken.
    pub(crate) fn send(&mut self, request: usize, how: &str) {
        let asked = &self.clients.requests[request];
        let (input, index) = (asked.input.clone(), self.index_of(asked.module));
        let text = format!("client {how} {request}: {} {}", input.id, input.payload);
        let Some(up) = &mut self.hosts[index].up else {
            self.step(&format!("client {how} {request}, nobody is there"));
            return;
        };
        up.commands.push_back(Job { from: Origin::Client(request), work: vec![Work::Input(input)] });
        self.step(&text);
    }

    /// Changes a module's settings, as its host does at a start.
    pub(crate) fn set(&mut self, module: &str, settings: &serde_json::Value) {
        let payload = settings.to_string();
        let id = format!("set_{}", digest_text(&[module.as_bytes(), payload.as_bytes()], 26));
        let input = Input::new(InputKind::Settings, id, &settings_subject(module), module, payload);
        let index = self.index_of(module);
        if let Some(up) = &mut self.hosts[index].up {
            up.results.push_back(Job { from: Origin::Settings, work: vec![Work::Input(input)] });
        }
    }

    /// Shortened deadlines, by `scale`: 1 is hasty, 8 is near what a store ships with.
    pub(crate) fn set_deadlines(&mut self, scale: i64) {
        let order = json!({
            "reservation_ttl_ms": 4_000 * scale,
            "answer_timeout_ms": 1_500 * scale,
            "action_timeout_ms": 5_000 * scale,
            "capture_retry_ms": 500 * scale,
            "capture_retry_max_ms": 4_000 * scale,
            "capture_give_up_ms": 12_000 * scale,
            "compensation_retry_ms": 800 * scale,
            "compensation_retry_max_ms": 5_000 * scale,
        });
        // Eight rounds last for longer than any call is late.
        let payment = json!({
            "action_poll_ms": 700 * scale,
            "action_wait_ms": 4_000 * scale,
            "reconcile_ms": 2_000 * scale,
            "reconcile_rounds_max": 8,
            "retry_ms": 600 * scale,
            "pause_ms_max": 8_000 * scale,
        });
        self.set("order", &order);
        self.set("payment", &payment);
    }
}
