//! A payment provider for local work and tests: an HTTP server with a ledger file of its own.
//!
//! The simulator imports no other Pangaea crate on purpose. Its ledger is the *second opinion* about money: the
//! payment module says what it believes was captured, the simulator's file says what a provider would have booked,
//! and an auditor compares the two. Shared types would let one bug hide in both.
//!
//! ```no_run
//! # async fn example() -> Result<(), pangaea_simulator::SimulatorError> {
//! use pangaea_simulator::{Ledger, LedgerSummary, Simulator, SimulatorConfig};
//! use tokio_util::sync::CancellationToken;
//!
//! let ledger = std::path::PathBuf::from("data/provider.jsonl");
//! let config = SimulatorConfig { ledger: Some(ledger.clone()), ..SimulatorConfig::default() };
//! let simulator = Simulator::bind(config).await?;
//! println!("listening on http://{}", simulator.addr());
//! let shutdown = CancellationToken::new();
//! simulator.run(shutdown).await?;
//!
//! let summary = LedgerSummary::of(&Ledger::read(&ledger)?);
//! assert!(summary.orphaned_authorizations.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # API
//! | route | does |
//! |---|---|
//! | `POST /v1/payment_intents` | authorizes `{amount, currency, payment_method, reference}` |
//! | `POST /v1/payment_intents/{id}/confirm` | completes an intent that `requires_action` |
//! | `POST /v1/payment_intents/{id}/capture` | captures `{amount?}`, once; what is left of the authorization is released |
//! | `POST /v1/payment_intents/{id}/cancel` | voids what is not captured |
//! | `POST /v1/refunds` | refunds `{payment_intent, amount}` |
//! | `GET /v1/payment_intents`, `GET /v1/payment_intents/{id}` | reads; the list is newest first, `?limit=&starting_after=` |
//! | `GET /v1/operations/{idempotency_key}` | the first answer to a key, or 404 if nothing was done under it |
//!
//! Every `POST` needs an `Idempotency-Key`. How a payment goes is chosen by its [`Token`].
//!
//! # Guarantees
//! - An answer is sent only after its ledger line is on disk; so is a read of what the line changed.
//! - Concurrent or later copies of one key perform once and get one answer, also across a SIGKILL and restart.
//! - Behaviour is a function of seed, key and attempt number, never of a random source.
//!
//! # Bounds
//! The last few thousand entries are in memory, about 1 KiB each; what was done longer ago is found by an index beside the
//! ledger file, and an old key's answer is read from its line. The index is derived: it is made again from the ledger when
//! it is missing, damaged or of another ledger. Without a ledger file everything stays in memory for as long as the process
//! lives. The number of connections, bodies (64 KiB), the ledger queue, webhooks in flight, retries and holds are bounded
//! by constants next to their use.

mod api_error;
mod archive;
mod books;
mod clock;
mod config;
mod derive;
mod desk;
mod error;
mod filing;
mod http;
mod intent;
mod ledger;
mod offline;
mod recent;
mod rules;
mod server;
mod summary;
mod token;
mod webhook;
mod writer;

pub use books::Command;
pub use config::SimulatorConfig;
pub use error::SimulatorError;
pub use intent::{Intent, IntentStatus};
pub use ledger::{Answer, EntryKind, Ledger, LedgerEntry, OperationKind};
pub use offline::Offline;
pub use server::Simulator;
pub use summary::{Amounts, DoubleCapture, IntentSummary, LedgerSummary, ReferenceSummary};
pub use token::Token;
