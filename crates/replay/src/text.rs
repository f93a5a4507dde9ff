//! Text with its ids marked and its times taken out.

use pangaea_contracts::Timestamp;

/// A piece of a text: as it is, or an id that has another value in another run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Id(String),
}

/// Characters after the `_` of an id. A derived id has 26, that of a SKU 16; words of the domain are shorter.
const ID_CHARS_MIN: usize = 16;
/// Letters before the `_`.
const PREFIX_CHARS_MAX: usize = 6;

/// Marks ids wherever they stand in a text, also within JSON or as a part of a longer key.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if is_id(word) {
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Id(word.to_owned()));
        } else {
            plain.push_str(word);
        }
        let parting = after.find(is_word).unwrap_or(after.len());
        plain.push_str(&after[..parting]);
        rest = &after[parting..];
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    pieces
}

/// The ids that stand in a text.
pub(crate) fn ids(text: &str) -> Vec<String> {
    let id = |piece| match piece {
        Piece::Id(id) => Some(id),
        Piece::Text(_) => None,
    };
    pieces(text).into_iter().filter_map(id).collect()
}

/// A type's prefix, `_`, then letters and digits: what handlers and the provider make.
fn is_id(word: &str) -> bool {
    let Some((prefix, rest)) = word.split_once('_') else { return false };
    (1..=PREFIX_CHARS_MAX).contains(&prefix.len())
        && prefix.bytes().all(|byte| byte.is_ascii_lowercase())
        && rest.len() >= ID_CHARS_MIN
        && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && rest.bytes().any(|byte| byte.is_ascii_digit())
}

/// Replaces every moment in a JSON text, and gives objects their keys in order.
pub(crate) fn timeless(payload: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(payload) {
        Ok(mut value @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) => {
            drop_times(&mut value);
            value.to_string()
        }
        _ => payload.to_owned(),
    }
}

fn drop_times(value: &mut serde_json::Value) {
    use serde_json::Value as Json;
    match value {
        Json::String(text) if is_moment(text) => *value = Json::from("time"),
        Json::Array(items) => items.iter_mut().for_each(drop_times),
        Json::Object(fields) => fields.values_mut().for_each(drop_times),
        _ => {}
    }
}

/// RFC 3339 with milliseconds in UTC, as every moment of a contract is written.
fn is_moment(text: &str) -> bool {
    text.len() == 24 && text.ends_with('Z') && serde_json::from_value::<Timestamp>(text.into()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ids_and_only_ids() {
        let id = "ord_01jdabcdefghjkmnpqrstvwxy1";
        let text =
            format!("{{\"id\":\"{id}\",\"state\":\"requires_capture\",\"key\":\"{id}-2\",\"token\":\"tok_ok\"}}");
        let found: Vec<_> = pieces(&text).into_iter().filter(|piece| matches!(piece, Piece::Id(_))).collect();
        assert_eq!(found, [Piece::Id(id.into()), Piece::Id(id.into())]);
        for word in ["stock_reserved", "awaits_release", "sku_", "payment_requiresmanualreview", "E2E-12"] {
            assert!(!is_id(word), "{word}");
        }
        assert!(is_id("sku_0123456789abcdef") && is_id("pi_0123456789abcdef01234567"));
    }

    #[test]
    fn takes_times_out_of_json_and_nothing_else() {
        let text = r#"{"b":[{"at":"2026-11-26T12:00:00.000Z"}],"amount":1764158400000,"a":"2026-11-26"}"#;
        assert_eq!(timeless(text), r#"{"a":"2026-11-26","amount":1764158400000,"b":[{"at":"time"}]}"#);
        assert_eq!(timeless("plain"), "plain");
    }
}
