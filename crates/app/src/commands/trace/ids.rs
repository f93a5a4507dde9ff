//! What an id tells: a derived one begins, behind its type's prefix, with the moment of the input that made it.

use pangaea_kernel::result_id;
use std::ops::Range;

use anyhow::{Result, bail};
use pangaea_contracts::trace::trace_id;
use pangaea_contracts::{OrderId, Timestamp, moment_text};

const ID_BYTES_MAX: usize = 64;
const TRACE_DIGITS: usize = 32;
/// Shorter beginnings of a trace id would be met by chance.
const TRACE_DIGITS_MIN: usize = 4;

/// What `pangaea trace` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TraceTarget {
    /// A trace id or the beginning of one, in lower-case hexadecimal digits.
    Trace(String),
    /// The id of an input: a command, a message, a timer, an operation.
    Input(String),
}

/// The ids with this prefix that were derived at `moment`.
pub(super) fn of_moment(prefix: &str, moment: Timestamp) -> Range<String> {
    let begin = |moment: Timestamp| format!("{prefix}{}", moment_text(moment));
    begin(moment)..begin(moment.plus_millis(1))
}

/// An order's id or the beginning of one, with or without its prefix.
///
/// # Errors
/// When it cannot be one.
pub(super) fn order_prefix(text: &str) -> Result<String> {
    let text = text.trim();
    let rest = text.strip_prefix(OrderId::PREFIX).unwrap_or(text);
    let sound = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !sound || rest.len() + OrderId::PREFIX.len() > ID_BYTES_MAX {
        bail!("{text:?} is not the id of an order, nor the beginning of one: expected ord_ and letters and digits");
    }
    Ok(format!("{}{rest}", OrderId::PREFIX))
}

/// # Errors
/// When the text is none of the ids that can be looked for.
pub(super) fn trace_target(text: &str) -> Result<TraceTarget> {
    let text = text.trim();
    if text.starts_with(OrderId::PREFIX) {
        bail!("{text:?} is the id of an order: see `pangaea order {text}`");
    }
    let is_input = |prefix: &&str| text.len() > prefix.len() && text.starts_with(*prefix);
    if text.len() <= 2 * ID_BYTES_MAX && ["cmd_", "msg_", "tmr_", "op_"].iter().any(is_input) {
        // An effect is known by its operation; what is recorded of it is the result.
        let is_operation = text.starts_with("op_") && !text.contains(':');
        return Ok(TraceTarget::Input(if is_operation { result_id(text) } else { text.to_owned() }));
    }
    let lower = text.to_ascii_lowercase();
    let digits = trace_id(&lower).unwrap_or(&lower);
    let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hexadecimal || !(TRACE_DIGITS_MIN..=TRACE_DIGITS).contains(&digits.len()) {
        bail!(
            "{text:?} is not a trace: expected 32 hexadecimal digits or at least the first {TRACE_DIGITS_MIN}, a \
             traceparent, or the id of an input (cmd_…, msg_…, tmr_…, op_…)"
        );
    }
    Ok(TraceTarget::Trace(digits.to_owned()))
}
