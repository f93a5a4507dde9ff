//! Bugs planted on purpose: each is caught by the auditor once the guard beneath it is gone, and refused by the guard
//! while it is there.

mod handlers;
mod letters;
mod money;
mod relays;
mod replicas;
mod support;
mod torn;
