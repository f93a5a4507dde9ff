//! All that is said of an order or a trace, as one document with stable names.

use std::collections::BTreeSet;

use pangaea_contracts::{Money, Timestamp};
use pangaea_order::Outline;
use serde::Serialize;
use serde_json::Value;

use super::fact::{FactKind, Outcome};
use super::redact::Redaction;
use super::stores::{Missing, Stores};
use super::tree::{Node, in_causal_order};
use super::walk::Found;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Query {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) order_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report {
    pub(super) query: Query,
    /// None of a trace, and where order's database cannot be read.
    pub(super) order: Option<OrderView>,
    pub(super) trace_ids: Vec<String>,
    pub(super) correlation_ids: Vec<String>,
    pub(super) started_at: Timestamp,
    /// Of the newest step.
    pub(super) ended_at: Timestamp,
    pub(super) duration_ms: i64,
    pub(super) steps: Vec<Step>,
    /// Numbers of the steps that are still to happen, by themselves or by an operator.
    pub(super) open: Vec<usize>,
    pub(super) modules_read: Vec<String>,
    pub(super) modules_not_read: Vec<Missing>,
    /// Whether there are more steps than were asked for.
    pub(super) is_cut: bool,
    pub(super) limit: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct OrderView {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) state_since: Timestamp,
    pub(super) placed_at: Timestamp,
    pub(super) version: i64,
    pub(super) reason: Option<String>,
    pub(super) total: Money,
    pub(super) captured: Money,
    pub(super) refunded: Money,
    pub(super) refund_pending: Money,
}

/// An input of a module, and how it came to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Step {
    /// From 1, in causal order.
    pub(super) number: usize,
    /// The step that led to it.
    pub(super) cause: Option<usize>,
    pub(super) depth: usize,
    pub(super) module: String,
    pub(super) kind: FactKind,
    pub(super) subject: String,
    pub(super) id: String,
    pub(super) key: String,
    pub(super) causation_id: Option<String>,
    pub(super) correlation_id: String,
    pub(super) trace_id: Option<String>,
    pub(super) published_at: Option<Timestamp>,
    pub(super) handled_at: Option<Timestamp>,
    /// From the start to handling; to publishing while it is open.
    pub(super) since_start_ms: i64,
    /// From publishing to handling: on the way and in the queue; of an effect its tries, of a timer its delay.
    pub(super) wait_ms: Option<i64>,
    /// Attempts on a message or tries of an effect, while the journal knows them.
    pub(super) attempts: Option<u32>,
    pub(super) inbox_position: Option<u64>,
    pub(super) outcome: Outcome,
    /// Only when asked for, and redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Value>,
}

// === impl Report ===

impl Report {
    /// `redaction` where payloads are asked for.
    pub(super) fn new(
        query: Query,
        order: Option<Outline>,
        found: Found,
        limit: usize,
        redaction: Option<&Redaction>,
    ) -> Self {
        let Found { facts, is_cut } = found;
        let nodes = in_causal_order(facts);
        let moments = || nodes.iter().map(|node| node.fact.moment());
        let started = nodes.iter().flat_map(|node| [node.fact.published_at, node.fact.at]).flatten().min();
        let started_at = started.unwrap_or_default();
        let ended_at = moments().max().unwrap_or_default();
        let distinct = |texts: &mut dyn Iterator<Item = String>| texts.collect::<BTreeSet<_>>().into_iter().collect();
        let steps: Vec<Step> =
            nodes.iter().enumerate().map(|(index, node)| Step::new(index + 1, node, started_at, redaction)).collect();
        Self {
            query,
            order: order.map(OrderView::from),
            trace_ids: distinct(&mut steps.iter().filter_map(|step| step.trace_id.clone())),
            correlation_ids: distinct(&mut steps.iter().map(|step| step.correlation_id.clone())),
            started_at,
            ended_at,
            duration_ms: ended_at.millis_since(started_at),
            open: steps.iter().filter(|step| step.outcome.is_open()).map(|step| step.number).collect(),
            steps,
            modules_read: Vec::new(),
            modules_not_read: Vec::new(),
            is_cut,
            limit,
        }
    }

    /// Says which databases were read.
    pub(super) fn of_stores(mut self, stores: &Stores) -> Self {
        self.modules_read = stores.names();
        self.modules_not_read = stores.missing().to_vec();
        self
    }
}

// === impl Step ===

impl Step {
    fn new(number: usize, node: &Node, started_at: Timestamp, redaction: Option<&Redaction>) -> Self {
        let Node { fact, parent, depth } = node;
        Self {
            number,
            cause: parent.map(|parent| parent + 1),
            depth: *depth,
            module: fact.module.clone(),
            kind: fact.kind,
            subject: fact.subject.clone(),
            id: fact.id.clone(),
            key: fact.key.clone(),
            causation_id: fact.cause.as_ref().map(|(_, id)| id.clone()),
            correlation_id: fact.correlation_id.clone(),
            trace_id: fact.trace_id.clone(),
            published_at: fact.published_at,
            handled_at: fact.at,
            since_start_ms: fact.moment().millis_since(started_at),
            wait_ms: fact.wait_ms(),
            attempts: fact.outcome.attempts(),
            inbox_position: fact.position,
            outcome: fact.outcome.clone(),
            payload: redaction.map(|redaction| redaction.shown(&fact.subject, &fact.payload)),
        }
    }
}

// === impl OrderView ===

impl From<Outline> for OrderView {
    fn from(outline: Outline) -> Self {
        Self {
            id: outline.id.to_string(),
            state: outline.state.to_string(),
            state_since: outline.state_since,
            placed_at: outline.placed_at,
            version: outline.version,
            reason: outline.reason_code,
            total: outline.total,
            captured: outline.captured,
            refunded: outline.refunded,
            refund_pending: outline.refund_pending,
        }
    }
}
