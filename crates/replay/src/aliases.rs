//! Ids of a recording, and what the same things are called in another store.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use crate::text::{Piece, pieces};

/// What is called otherwise elsewhere, learnt from answers to the same requests. It is bounded: the oldest is forgotten first.
#[derive(Debug)]
pub struct Aliases {
    names: HashMap<String, String>,
    order: VecDeque<String>,
    names_max: usize,
    forgotten: u64,
}

// === impl Aliases ===

impl Aliases {
    pub fn new(names_max: usize) -> Self {
        Self { names: HashMap::new(), order: VecDeque::new(), names_max: names_max.max(1), forgotten: 0 }
    }

    /// Lays two answers beside each other: where both have an id at the same place, the one is called the other.
    pub fn learn(&mut self, recorded: &Value, live: &Value) {
        match (recorded, live) {
            (Value::String(recorded), Value::String(live)) => self.learn_text(recorded, live),
            (Value::Array(recorded), Value::Array(live)) => {
                recorded.iter().zip(live).for_each(|(recorded, live)| self.learn(recorded, live));
            }
            (Value::Object(recorded), Value::Object(live)) => {
                for (name, recorded) in recorded {
                    if let Some(live) = live.get(name) {
                        self.learn(recorded, live);
                    }
                }
            }
            _ => {}
        }
    }

    /// The same text with the names that things have there.
    pub fn translated(&self, text: &str) -> String {
        let piece = |piece: Piece| match piece {
            Piece::Text(text) => text,
            Piece::Id(id) => self.names.get(&id).cloned().unwrap_or(id),
        };
        pieces(text).into_iter().map(piece).collect()
    }

    pub fn translate(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.translated(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.translate(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.translate(field)),
            _ => {}
        }
    }

    /// How many were forgotten because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn learn_text(&mut self, recorded: &str, live: &str) {
        let (recorded, live) = (pieces(recorded), pieces(live));
        if recorded.len() != live.len() {
            return;
        }
        for pair in recorded.into_iter().zip(live) {
            match pair {
                (Piece::Id(recorded), Piece::Id(live)) if is_alike(&recorded, &live) => self.insert(recorded, live),
                _ => {}
            }
        }
    }

    fn insert(&mut self, recorded: String, live: String) {
        if recorded == live && !self.names.contains_key(&recorded) {
            return;
        }
        if self.names.insert(recorded.clone(), live).is_none() {
            self.order.push_back(recorded);
        }
        if self.order.len() > self.names_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
            self.forgotten += 1;
        }
    }
}

/// Whether two ids are of one type.
fn is_alike(one: &str, other: &str) -> bool {
    let prefix = |id: &str| id.split_once('_').map(|(prefix, _)| prefix.to_owned());
    prefix(one) == prefix(other)
}

/// The ids that a text names.
pub fn ids_in(text: &str) -> impl Iterator<Item = String> + use<> {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Id(id) => Some(id),
        Piece::Text(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Aliases, ids_in};

    const RECORDED: &str = "ord_01jdaaaaaaaaaaaaaaaaaaaaa1";
    const LIVE: &str = "ord_01jdbbbbbbbbbbbbbbbbbbbbb2";

    #[test]
    fn an_answer_beside_another_tells_what_things_are_called() {
        let mut aliases = Aliases::new(10);
        let sku = "sku_0123456789abcdef";
        let user = "usr_01jdaaaaaaaaaaaaaaaaaaaaa1";
        let recorded = json!({ "id": RECORDED, "lines": [{ "sku_id": sku }], "customer_id": user, "state": "placed" });
        let live = json!({ "id": LIVE, "lines": [{ "sku_id": sku }], "customer_id": null, "state": "confirmed" });
        aliases.learn(&recorded, &live);
        assert_eq!(aliases.translated(&format!("/v1/orders/{RECORDED}/cancel")), format!("/v1/orders/{LIVE}/cancel"));
        let mut body = json!({ "order": RECORDED, "of": [user, sku, 1, "placed"] });
        aliases.translate(&mut body);
        assert_eq!(body, json!({ "order": LIVE, "of": [user, sku, 1, "placed"] }));
    }

    #[test]
    fn what_is_of_another_type_is_not_the_same_and_the_oldest_is_forgotten() {
        let mut aliases = Aliases::new(1);
        aliases.learn(&json!(RECORDED), &json!("ref_01jdbbbbbbbbbbbbbbbbbbbbb2"));
        assert_eq!(aliases.translated(RECORDED), RECORDED);
        aliases.learn(&json!(RECORDED), &json!(LIVE));
        let other = "ord_01jdccccccccccccccccccccc3";
        aliases.learn(&json!(other), &json!(LIVE));
        assert_eq!((aliases.translated(RECORDED).as_str(), aliases.translated(other).as_str()), (RECORDED, LIVE));
        assert_eq!(aliases.forgotten(), 1);
        assert_eq!(ids_in(&format!("/v1/orders/{RECORDED}/refunds")).collect::<Vec<_>>(), [RECORDED]);
    }
}
