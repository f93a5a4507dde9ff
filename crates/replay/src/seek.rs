//! Finding inputs in a recording: which concern an id, where one is.

use serde_json::Value;

use crate::ReplayError;
use crate::recording::{Entry, ModuleRecording};
use crate::spot::{EntryQueue, Merged, Spot};

/// Inputs of one module that are kept in mind; of what concerns more, such as a much sold product, the first are told.
const INPUTS_MAX: usize = 2_000;

/// The inputs that concern an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concerned {
    pub id: String,
    /// Where they are, in order; of each module the first of them.
    pub spots: Vec<Spot>,
    /// How many there are.
    pub inputs: u64,
    pub last: Spot,
}

/// Looks a recording through for an id: an order's or any other, a key, a correlation, cause or trace. `None`: nothing is
/// concerned.
///
/// # Errors
/// When the file has changed since it was opened.
pub async fn concerned(modules: &[ModuleRecording], id: &str) -> Result<Option<Concerned>, ReplayError> {
    let (mut spots, mut inputs, mut last) = (Vec::new(), 0, None);
    for (module, recording) in modules.iter().enumerate() {
        let (mut queue, mut kept) = (EntryQueue::new(recording), 0);
        while queue.peek().await?.is_some() {
            let Some(entry) = queue.take().filter(|entry| concerns(entry, id)) else { continue };
            let spot = Spot::of(module, &entry);
            inputs += 1;
            last = last.max(Some(spot));
            if kept < INPUTS_MAX {
                kept += 1;
                spots.push(spot);
            }
        }
    }
    spots.sort();
    Ok(last.map(|last| Concerned { id: id.to_owned(), spots, inputs, last }))
}

/// The first place at or behind `from` (`None`: from the beginning) whose input is wanted.
///
/// # Errors
/// When the file has changed since it was opened.
pub async fn find(
    modules: &[ModuleRecording],
    from: Option<Spot>,
    is_wanted: impl Fn(Spot, &Entry) -> bool,
) -> Result<Option<Spot>, ReplayError> {
    let mut merged = Merged::new(modules);
    while let Some((spot, entry)) = merged.next().await? {
        if Some(spot) >= from && is_wanted(spot, &entry) {
            return Ok(Some(spot));
        }
    }
    Ok(None)
}

/// Whether an input, or what was said of it when it was recorded, names the id.
pub(crate) fn concerns(entry: &Entry, id: &str) -> bool {
    let named = [&entry.id, &entry.key, &entry.causation_id, &entry.correlation_id, &entry.payload];
    named.into_iter().chain(&entry.traceparent).any(|text| names(text, id))
        || entry
            .messages
            .iter()
            .any(|said| [&said.id, &said.key, &said.payload].into_iter().any(|text| names(text, id)))
        || entry.answer.as_ref().is_some_and(|answer| is_in(&answer.body, id))
}

fn is_in(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => names(text, id),
        Value::Array(items) => items.iter().any(|item| is_in(item, id)),
        Value::Object(fields) => fields.values().any(|field| is_in(field, id)),
        _ => false,
    }
}

/// Whether a text holds the id as a whole word.
fn names(text: &str, id: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_whole = |start: usize| {
        let (before, after) = (&text.as_bytes()[..start], &text.as_bytes()[start + id.len()..]);
        !before.last().is_some_and(is_word) && !after.first().is_some_and(is_word)
    };
    !id.is_empty() && text.match_indices(id).any(|(start, _)| is_whole(start))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn an_id_is_named_as_a_whole_word_only() {
        for (text, expected) in [
            (r#"{"order_id":"ord_1"}"#, true),
            ("ord_1", true),
            ("ord_1-2", true),
            ("ord_12", false),
            ("xord_1", false),
            ("ord_12 ord_1", true),
            ("", false),
        ] {
            assert_eq!(names(text, "ord_1"), expected, "{text}");
        }
        assert!(!names("anything", ""));
    }
}
