//! The W3C trace context of work whose place in a trace is computed and not remembered.
//!
//! Work that survives a process, such as the handling of an input or an effect with its tries, has a span id derived from the
//! work's own id: what follows from it can name it as parent before the span has been told to anybody, and a repeat of the work
//! names the same one, so that the same input gives the same outputs. Source: W3C Trace Context, level 1.

use crate::id::digest;

/// `00-<trace id, 32 hexadecimal digits>-<span id, 16>-<flags, 2>`
const LEN: usize = 55;
const TRACE: std::ops::Range<usize> = 3..35;
const SPAN: std::ops::Range<usize> = 36..52;

/// The span id of a piece of work: of one thing that one module does.
pub fn derived_span_id(kind: &str, module: &str, id: &str) -> [u8; 8] {
    let digest = digest(&[b"span", kind.as_bytes(), module.as_bytes(), id.as_bytes()]);
    let mut span = [0; 8];
    span.copy_from_slice(&digest[..8]);
    // All zeros is no id.
    if span == [0; 8] { [1; 8] } else { span }
}

/// The trace that a `traceparent` names: 32 hexadecimal digits.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.get(TRACE).filter(|_| traceparent.len() == LEN)
}

/// `parent` with another span in its place: the same trace, the same flags. `None` when `parent` is no `traceparent`.
pub fn traceparent_with(parent: &str, span_id: [u8; 8]) -> Option<String> {
    let is_one = parent.len() == LEN && parent.is_ascii() && parent.as_bytes()[SPAN.start - 1] == b'-';
    is_one.then(|| {
        let mut text = String::with_capacity(LEN);
        text.push_str(&parent[..SPAN.start]);
        for byte in span_id {
            for digit in [byte >> 4, byte & 0xf] {
                text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        text.push_str(&parent[SPAN.end..]);
        text
    })
}

/// What handling an input says with it: the span of `kind` "handle" of this module and input, in the input's trace.
pub fn handling_traceparent(parent: &str, module: &str, input_id: &str) -> Option<String> {
    traceparent_with(parent, derived_span_id(HANDLE, module, input_id))
}

/// The kind of the span of an input's handling.
pub const HANDLE: &str = "handle";
/// The kind of the span of an effect with all its tries.
pub const EFFECT: &str = "effect";
/// The kind of the span of a timer's wait: of what the timer's handling follows from.
pub const TIMER: &str = "timer";

#[cfg(test)]
mod tests {
    use super::{derived_span_id, handling_traceparent, traceparent_with};

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_trace_and_its_flags_stay_and_the_span_is_another() {
        let child = handling_traceparent(PARENT, "order", "msg_1").unwrap();
        assert_eq!((&child[..36], &child[52..]), (&PARENT[..36], &PARENT[52..]));
        assert_ne!(child, PARENT);
        assert_eq!(child, handling_traceparent(PARENT, "order", "msg_1").unwrap());
        let of_another_module = handling_traceparent(PARENT, "payment", "msg_1").unwrap();
        assert_ne!(child, of_another_module, "two modules that handle one message have a span each");
        assert_eq!(traceparent_with(PARENT, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]).unwrap(), PARENT);
    }

    #[test]
    fn nonsense_has_no_children() {
        for bad in ["", "00-short", &"x".repeat(55), &"é".repeat(27)] {
            assert_eq!(traceparent_with(bad, derived_span_id("handle", "order", "1")), None, "{bad}");
        }
    }
}
