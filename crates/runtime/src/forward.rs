//! The way of a command to the writer of its module, wherever it leads.

mod rebuild;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pangaea_bus::{Bus, BusError, RequestHandler, ServiceHandle, ServiceSpec, log_read_subject};
use pangaea_contracts::{Kind, Subject};
use pangaea_journal::SecretRow;
use pangaea_kernel::http::{CommandFuture, Commands};
use pangaea_kernel::{Answer, Definition, Done, Input, LetterOutcome, Problem, ProblemKind, Work};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::CODE_VERSION;
use crate::module_host::Member;
use crate::queue::{Queue, QueueError};
use crate::rebuilds::{RebuildRequest, Rebuilds};

/// From a command's arrival to the end of its tries. Longer than a change of leaders takes, shorter than a client waits.
const DEADLINE: Duration = Duration::from_secs(10);
/// One try with a leader elsewhere; the next is the same command under the same id.
const TRY_TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a dead letter may take: its handler runs alone, and the writer waits for a database that is away.
const LETTER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a module is led. Cheap to clone; the clones share what they know.
#[derive(Clone)]
pub(crate) struct Way(Arc<watch::Sender<Leads>>);

#[derive(Clone)]
enum Leads {
    Nowhere,
    Here(Queue, Rebuilds),
    /// In another replica, which serves a subject that names its epoch: a former leader that hangs hears nothing.
    There {
        epoch: i64,
    },
}

/// Takes a module's commands to its writer: in this process, or by request/reply. Resent under its id until it is answered,
/// a command is handled once, because its row of the inbox is its idempotency record.
pub(crate) struct Forward {
    pub(crate) module: &'static str,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) way: Way,
}

/// Why a try brought no answer.
enum Missed {
    /// It was not taken: the next try is the first.
    NotTaken,
    /// It may have been handled.
    Unknown,
}

/// A command on its way to a leader elsewhere. Without secrets it is the plain input, which v0.1.0 takes too.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Carried {
    WithSecrets { command: Input, secrets: Vec<SecretRow> },
    Letter(LetterRequest),
    Rebuild(RebuildRequest),
    Plain(Input),
}

/// What an operator wants done to a dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LetterRequest {
    Redrive { letter_id: String },
    Abandon { letter_id: String },
}

// === impl Way ===

impl Way {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Leads::Nowhere)))
    }

    pub(crate) fn leads_here(&self, queue: Queue, rebuilds: Rebuilds) {
        self.0.send_replace(Leads::Here(queue, rebuilds));
    }

    /// Says so only when it is news, because commands under way to the former leader are then sent again.
    pub(crate) fn leads_there(&self, epoch: i64) {
        self.0.send_if_modified(|leads| {
            let news = !matches!(leads, Leads::There { epoch: known } if *known == epoch);
            if news {
                *leads = Leads::There { epoch };
            }
            news
        });
    }

    pub(crate) fn leads_elsewhere(&self) {
        self.0.send_replace(Leads::Nowhere);
    }

    /// Whether anybody is known to lead.
    pub(crate) fn is_led(&self) -> bool {
        !matches!(&*self.0.borrow(), Leads::Nowhere)
    }

    pub(crate) fn is_here(&self) -> bool {
        matches!(&*self.0.borrow(), Leads::Here(..))
    }

    /// The writer's queue, while this replica leads.
    pub(crate) fn queue_here(&self) -> Option<Queue> {
        match &*self.0.borrow() {
            Leads::Here(queue, _) => Some(queue.clone()),
            Leads::Nowhere | Leads::There { .. } => None,
        }
    }

    /// Whether the leader answers. One of v0.1.0, which does not name its epoch, is asked for its log, and refuses an empty
    /// question.
    ///
    /// # Errors
    /// Says what is missing.
    pub(crate) async fn ping(&self, module: &str, bus: &dyn Bus) -> Result<(), String> {
        let epoch = match &*self.0.borrow() {
            Leads::Here(..) => return Ok(()),
            Leads::Nowhere => return Err("no replica leads".to_owned()),
            Leads::There { epoch } => *epoch,
        };
        let ping = |subject: String| async move { bus.request(&subject, Bytes::new(), None, PING_TIMEOUT).await };
        let mut reply = ping(leader_subject(module, epoch)).await;
        if matches!(reply, Err(BusError::NoResponders(_))) {
            reply = ping(log_read_subject(module)).await;
        }
        match reply {
            Ok(_) | Err(BusError::Remote { .. }) => Ok(()),
            Err(error) => Err(format!("the leader cannot be reached: {error}")),
        }
    }
}

// === impl Way: letters ===

impl Way {
    /// Has the leader redrive or abandon a letter. It is not sent again: an operator sees that there was no answer, and
    /// what has been done is not done twice.
    ///
    /// # Errors
    /// A problem when the leader cannot be reached, or does not answer.
    pub(crate) async fn deal_with(
        &self,
        module: &str,
        bus: &dyn Bus,
        letter: LetterRequest,
    ) -> Result<LetterOutcome, Problem> {
        let unknown = || {
            let detail = "the leader did not answer; ask again, what has been done is not done twice";
            Problem::new(ProblemKind::OutcomeUnknown, detail).with_retry_after(1)
        };
        let leads = self.0.borrow().clone();
        let epoch = match leads {
            Leads::Nowhere => return Err(nobody_leads(module)),
            Leads::Here(queue, _) => {
                let dealt = tokio::time::timeout(LETTER_TIMEOUT, deal_here(&queue, letter)).await;
                return dealt.ok().flatten().ok_or_else(unknown);
            }
            Leads::There { epoch } => epoch,
        };
        let payload = serde_json::to_vec(&Carried::Letter(letter)).map_err(|_| unknown())?;
        match bus.request(&leader_subject(module, epoch), payload.into(), None, LETTER_TIMEOUT).await {
            Ok(reply) => serde_json::from_slice(&reply).map_err(|_| unknown()),
            Err(BusError::NoResponders(_)) => {
                let detail = format!(
                    "the leader of {module} does not answer this process; it may be of a release that cannot redrive"
                );
                Err(Problem::new(ProblemKind::Unavailable, detail).with_retry_after(1))
            }
            Err(_) => Err(unknown()),
        }
    }
}

/// A letter goes the way of the results of effects: it was accepted long ago, so a full lane of commands does not refuse it.
async fn deal_here(queue: &Queue, letter: LetterRequest) -> Option<LetterOutcome> {
    let work = match letter {
        LetterRequest::Redrive { letter_id } => Work::Redrive { letter_id },
        LetterRequest::Abandon { letter_id } => Work::Abandon { letter_id },
    };
    match queue.result(work).await.ok()?.into_iter().next() {
        Some(Done::Letter(outcome)) => Some(outcome),
        _ => None,
    }
}

pub(crate) fn nobody_leads(module: &str) -> Problem {
    Problem::new(ProblemKind::Unavailable, format!("no replica leads {module} at the moment")).with_retry_after(1)
}

fn leader_subject(module: &str, epoch: i64) -> String {
    format!("{module}.rpc.lead_{epoch}.v1")
}

// === impl Forward ===

impl Commands for Forward {
    fn submit(&self, command: Input) -> CommandFuture {
        let forward = Self { module: self.module, bus: self.bus.clone(), way: self.way.clone() };
        Box::pin(async move { forward.answer(command).await })
    }
}

impl Forward {
    async fn answer(&self, command: Input) -> Result<Answer, Problem> {
        let deadline = Instant::now() + DEADLINE;
        let mut ways = self.way.0.subscribe();
        let mut is_unknown = false;
        loop {
            let leads = ways.borrow_and_update().clone();
            let on_its_way = !matches!(leads, Leads::Nowhere);
            let tried = tokio::select! {
                biased;
                tried = self.try_once(leads, &command) => tried,
                _ = ways.changed() => {
                    is_unknown |= on_its_way;
                    continue;
                }
                () = tokio::time::sleep_until(deadline) => {
                    is_unknown |= on_its_way;
                    return Err(gave_up(is_unknown));
                }
            };
            let tried = match tried {
                // Shed now, but an earlier try may have been handled: "nothing was done" would be a lie.
                Err(_) if is_unknown => return Err(gave_up(is_unknown)),
                Err(problem) => return Err(problem),
                Ok(tried) => tried,
            };
            match tried {
                Ok(answer) => return Ok(answer),
                Err(missed) => is_unknown |= matches!(missed, Missed::Unknown),
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(gave_up(is_unknown));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// # Errors
    /// What is to be answered at once, such as that too much is waiting already.
    async fn try_once(&self, leads: Leads, command: &Input) -> Result<Result<Answer, Missed>, Problem> {
        match leads {
            Leads::Nowhere => std::future::pending().await,
            Leads::Here(queue, _) => try_here(self.module, &queue, command.clone()).await,
            Leads::There { epoch } => self.try_there(epoch, command).await,
        }
    }

    async fn try_there(&self, epoch: i64, command: &Input) -> Result<Result<Answer, Missed>, Problem> {
        let carried = Carried::of(command);
        let payload = serde_json::to_vec(&carried)
            .map_err(|error| Problem::new(ProblemKind::Internal, format!("the command cannot travel: {error}")))?;
        let traceparent = command.traceparent.as_deref();
        let request = |subject: String, payload: Vec<u8>| async move {
            self.bus.request(&subject, payload.into(), traceparent, TRY_TIMEOUT).await
        };
        let mut reply = request(leader_subject(self.module, epoch), payload.clone()).await;
        if matches!(reply, Err(BusError::NoResponders(_))) {
            // A leader of a release that does not name its epoch.
            reply = request(command.subject.clone(), payload).await;
        }
        match reply {
            Ok(reply) => match serde_json::from_slice(&reply) {
                Ok(answer) => Ok(Ok(answer)),
                Err(_) => Ok(Err(Missed::Unknown)),
            },
            Err(BusError::Busy(_)) => {
                count_shed(self.module, "leader_busy");
                let detail = "too many wait for the leader already; nothing was done: come again later";
                Err(Problem::new(ProblemKind::Overloaded, detail).with_retry_after(1))
            }
            Err(BusError::NoResponders(_) | BusError::Unavailable(_)) => Ok(Err(Missed::NotTaken)),
            Err(_) => Ok(Err(Missed::Unknown)),
        }
    }
}

async fn try_here(module: &str, queue: &Queue, command: Input) -> Result<Result<Answer, Missed>, Problem> {
    let id = command.id.clone();
    let reply = match queue.command(Work::Input(command)) {
        Ok(reply) => reply,
        Err(QueueError::Shed(shed)) => {
            count_shed(module, shed.reason.name());
            return Err(shed.into_problem(&id));
        }
        Err(QueueError::Stopped) => return Ok(Err(Missed::NotTaken)),
    };
    match reply.await.ok().and_then(|done| done.into_iter().next()) {
        Some(Done::Answered(answer)) => Ok(Ok(answer)),
        _ => Ok(Err(Missed::Unknown)),
    }
}

fn count_shed(module: &str, reason: &'static str) {
    metrics::counter!("pangaea_shed_total", "module" => module.to_owned(), "reason" => reason).increment(1);
}

fn gave_up(is_unknown: bool) -> Problem {
    let problem = if is_unknown {
        Problem::new(ProblemKind::OutcomeUnknown, "send the same request again with the same Idempotency-Key")
    } else {
        Problem::new(ProblemKind::Unavailable, "no replica takes commands at the moment; come again a little later")
    };
    problem.with_retry_after(1)
}

// === impl Carried ===

impl Carried {
    fn of(command: &Input) -> Self {
        if command.secrets.is_empty() {
            return Self::Plain(command.clone());
        }
        Self::WithSecrets { command: command.clone(), secrets: command.secrets.clone() }
    }
}

/// The subjects of a module's commands.
fn commands_of(definition: &Definition) -> impl Iterator<Item = &'static str> + '_ {
    definition.handled().filter(|subject| Subject::parse(subject).is_ok_and(|subject| subject.kind == Kind::Request))
}

/// Serves a module's commands to whoever may publish there: to its other replicas by a subject that names the epoch, to all
/// by the command's own subject.
pub(crate) async fn serve_leader(
    member: &Member,
    epoch: i64,
    queue: Queue,
    rebuilds: Rebuilds,
) -> Result<ServiceHandle, BusError> {
    let module = member.name();
    let own = leader_subject(module, epoch);
    let commands = commands_of(&member.definition).map(str::to_owned);
    let subjects = commands.chain([own.clone()]).collect();
    let handler: RequestHandler = Arc::new(move |request| {
        let (queue, rebuilds, own) = (queue.clone(), rebuilds.clone(), own.clone());
        Box::pin(async move {
            if request.payload.is_empty() && request.subject == own {
                return Ok(Bytes::new());
            }
            let carried: Carried =
                serde_json::from_slice(&request.payload).map_err(|error| format!("not an input: {error}"))?;
            let input = match carried {
                Carried::Letter(letter) => {
                    let outcome = deal_here(&queue, letter).await.ok_or("this replica no longer leads")?;
                    return serde_json::to_vec(&outcome).map(Bytes::from).map_err(|error| error.to_string());
                }
                Carried::Rebuild(request) => {
                    let reply = serde_json::to_vec(&rebuilds.answer(request));
                    return reply.map(Bytes::from).map_err(|error| error.to_string());
                }
                Carried::Plain(command) => command,
                Carried::WithSecrets { command, secrets } => Input { secrets, ..command },
            };
            if (input.subject != request.subject && request.subject != own) || !input.is_command() {
                return Err(format!("{} is not a command for {}", input.subject, request.subject));
            }
            let answer = match try_here(module, &queue, input).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(Missed::NotTaken | Missed::Unknown)) => return Err("this replica no longer leads".to_owned()),
                Err(problem) => problem.into(),
            };
            serde_json::to_vec(&answer).map(Bytes::from).map_err(|error| error.to_string())
        })
    });
    let service = ServiceSpec {
        name: format!("{module}-leader"),
        version: CODE_VERSION.to_owned(),
        description: format!("the commands of the {module} module"),
        subjects,
    };
    member.bus.serve(service, handler).await
}
