//! Sending: when it is due, in order where order matters, and what is done with the answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use hyper::StatusCode;
use pangaea_contracts::Timestamp;
use pangaea_replay::{Aliases, Bound, Progress};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Speed;
use super::order::{Order, Turn};
use super::plan::{Command, Planned, Planner};
use super::report::{Answered, Report};
use crate::retail::answer::{Failure, Raw, Replay};
use crate::retail::client::{Call, Client};

/// Commands that are read ahead and wait for their turn.
const WAITING_MAX: usize = 2_000;
/// Ids whose other names are kept.
const ALIASES_MAX: usize = 1_000_000;
/// A refusal where the recording accepted is asked again so often, each time under a key of its own.
const ASKED_AGAIN_MAX: u32 = 10;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Sends commands to one store.
pub(super) struct Driver {
    shared: Arc<Shared>,
    speed: Speed,
    waiting: Arc<Semaphore>,
    order: Order,
    tasks: TaskTracker,
}

struct Shared {
    client: Client,
    under_way: Semaphore,
    aliases: Mutex<Aliases>,
    report: Mutex<Report>,
    sent: Progress,
    /// Nobody answers any more.
    broken: CancellationToken,
}

// === impl Driver ===

impl Driver {
    pub(super) fn new(client: Client, speed: Speed, in_flight_max: usize) -> Self {
        let shared = Arc::new(Shared {
            client,
            under_way: Semaphore::new(in_flight_max),
            aliases: Mutex::new(Aliases::new(ALIASES_MAX)),
            report: Mutex::default(),
            sent: Arc::new(AtomicU64::new(0)),
            broken: CancellationToken::new(),
        });
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        Self { shared, speed, waiting, order: Order::default(), tasks: TaskTracker::new() }
    }

    /// How many were sent so far, for who shows progress.
    pub(super) fn sent(&self) -> Progress {
        self.shared.sent.clone()
    }

    pub(super) async fn drive(&mut self, mut planner: Planner, bound: Bound) -> Result<Report> {
        let begun = Instant::now();
        let mut first: Option<(Instant, Timestamp)> = None;
        while let Some(planned) = planner.next(bound).await? {
            match planned {
                Planned::NoCommand => self.shared.note(|report| report.not_commands += 1),
                Planned::Skip(reason) => self.shared.note(|report| *report.skipped.entry(reason).or_default() += 1),
                Planned::Send(command) => {
                    let (begin, first_time) = *first.get_or_insert_with(|| (Instant::now(), command.spot.time));
                    let due = self.due(begin, first_time, command.spot.time);
                    if !self.start(command, due).await {
                        break;
                    }
                }
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
        let mut report = std::mem::take(&mut *self.shared.report.lock().unwrap_or_else(PoisonError::into_inner));
        report.end(self.speed, begun.elapsed(), self.shared.aliases().forgotten());
        Ok(report)
    }

    /// `None`: as soon as it can be.
    fn due(&self, begin: Instant, first: Timestamp, time: Timestamp) -> Option<Instant> {
        let Speed::Times(times) = self.speed else { return None };
        let after_s = (time.as_millis() - first.as_millis()).max(0) as f64 / 1_000.0 / times;
        Some(begin + Duration::try_from_secs_f64(after_s).unwrap_or(Duration::MAX / 4))
    }

    /// `false` when there is no use in going on.
    async fn start(&self, mut command: Box<Command>, due: Option<Instant>) -> bool {
        let broken = self.shared.broken.cancelled();
        let wait = async {
            if let Some(due) = due {
                sleep_until(due).await;
            }
            self.waiting.clone().acquire_owned().await
        };
        let place = tokio::select! {
            () = broken => return false,
            place = wait => place,
        };
        let turn = self.order.enter(&mut command.lanes);
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            shared.send(&command, due, turn).await;
            drop(place);
        });
        true
    }
}

// === impl Shared ===

impl Shared {
    async fn send(&self, command: &Command, due: Option<Instant>, turn: Turn) {
        turn.comes().await;
        let Ok(_under_way) = self.under_way.acquire().await else { return };
        if self.broken.is_cancelled() {
            return;
        }
        let late = due.map(|due| due.elapsed());
        self.sent.fetch_add(1, Ordering::Relaxed);
        let (path, body) = self.translated(command);
        let answered = self.answered(command, &path, body.as_ref()).await;
        if let (Ok(raw), Some(recorded)) = (&answered, &command.answer) {
            let live: Value = serde_json::from_slice(&raw.body).unwrap_or_default();
            self.aliases().learn(&recorded.body, &live);
        }
        self.note(|report| report.sent(&command.subject, late));
        match answered {
            Ok(raw) => self.note(|report| report.answered(command, &Answered::of(&raw))),
            // The store answered this, again and again.
            Err(Failure::Busy { status }) => self.note(|report| report.answered(command, &Answered::busy(status))),
            Err(failure) => {
                self.broken.cancel();
                let what = format!("{} of input {}: {failure}", command.subject, command.spot.position);
                self.note(|report| report.broken_off = report.broken_off.take().or(Some(what)));
            }
        }
    }

    /// What other modules have yet to say, such as a price or a payment, may have come before the command when it was
    /// recorded, and come later now. So a refusal where the recording accepted is asked again for a while, which changes
    /// nothing that was refused.
    async fn answered(&self, command: &Command, path: &str, body: Option<&Value>) -> Result<Raw, Failure> {
        let (mut key, mut again) = (command.idempotency_key.clone(), 0);
        loop {
            let if_match = command.request.if_match_header();
            let call = Call::of(command.request.method.clone(), path, &key, if_match.as_deref(), body);
            let raw = self.client.ask(&call).await?;
            if again == ASKED_AGAIN_MAX || !may_change(command, &raw) {
                return Ok(raw);
            }
            // The stored answer to an earlier run's try: the next was asked then, too.
            if raw.replay() != Replay::EarlierRun {
                sleep(PAUSE_MAX.min(PAUSE_FIRST * 2_u32.saturating_pow(again))).await;
            }
            again += 1;
            key = format!("{}-{again}", command.idempotency_key);
            self.note(|report| report.asked_again += 1);
        }
    }

    fn translated(&self, command: &Command) -> (String, Option<Value>) {
        let aliases = self.aliases();
        let mut body = command.request.body.clone();
        if let Some(body) = &mut body {
            aliases.translate(body);
        }
        (aliases.translated(&command.request.path), body)
    }

    fn aliases(&self) -> std::sync::MutexGuard<'_, Aliases> {
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Whether the store refused what the recording accepted, for a reason that time may take away.
fn may_change(command: &Command, raw: &Raw) -> bool {
    let was_accepted = command.answer.as_ref().is_some_and(pangaea_kernel::Answer::is_success);
    // Under a key that another request has, the next key would do it twice.
    let is_reused = || {
        let problem: Value = serde_json::from_slice(&raw.body).unwrap_or_default();
        problem["type"].as_str().is_some_and(|kind| kind.ends_with("idempotency-key-reused"))
    };
    was_accepted && matches!(raw.status, StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) && !is_reused()
}
