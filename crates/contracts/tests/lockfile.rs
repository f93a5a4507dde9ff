//! `schemas.lock.json` holds the messages as released; the code must still be able to talk to those who use them.

mod support;

use std::path::{Path, PathBuf};

use pangaea_contracts::{Subject, schemas};
use serde_json::{Value, json};
use support::{Change, Difference, Schemas, compare, normalized};

const BLESS: &str = "PANGAEA_BLESS=1 cargo test -p pangaea-contracts";

#[test]
fn the_messages_are_those_of_the_lockfile() {
    let current = current();
    let Some(locked) = read() else {
        assert!(blessing(), "there is no schemas.lock.json: run `{BLESS}` to record the messages");
        return write(&current);
    };
    let difference = compare(&locked, &current);
    match verdict(&difference, blessing()) {
        Ok(false) => {}
        Ok(true) => write(&current),
        Err(message) => panic!("{message}"),
    }
}

#[test]
fn every_subject_is_declared_once_and_well_formed() {
    let all = schemas();
    assert_eq!(current().len(), all.len(), "two messages share a subject");
    for entry in all {
        let parsed = Subject::parse(entry.subject).unwrap();
        assert_eq!(parsed.to_string(), entry.subject);
    }
}

/// `Ok(true)`: the lockfile has to be written.
fn verdict(difference: &Difference, blessing: bool) -> Result<bool, String> {
    let lines = |kind: &str, changes: &[Change]| -> String {
        changes.iter().map(|change| format!("  {kind}: {change}\n")).collect()
    };
    let breaking = lines("breaking", &difference.breaking);
    let additive = lines("additive", &difference.additive);
    if !breaking.is_empty() {
        let refused = if blessing { "Nothing was recorded: a breaking change is not blessed.\n" } else { "" };
        return Err(format!(
            "the messages differ from schemas.lock.json\n{breaking}{additive}{refused}Released messages are kept for good \
             in journals, streams and recordings. Take the change back, or give the message a new subject with the next \
             major version and keep the old one. What was never released is taken out of the lockfile by hand."
        ));
    }
    if additive.is_empty() || blessing {
        return Ok(!additive.is_empty());
    }
    Err(format!("the messages differ from schemas.lock.json\n{additive}additive: run `{BLESS}` to record it"))
}

fn current() -> Schemas {
    schemas().into_iter().map(|entry| (entry.subject.to_owned(), normalized(entry.schema.as_value()))).collect()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas.lock.json")
}

fn read() -> Option<Schemas> {
    let text = std::fs::read_to_string(path()).ok()?;
    Some(serde_json::from_str(&text).expect("schemas.lock.json is JSON: subject → schema"))
}

fn write(schemas: &Schemas) {
    let text = serde_json::to_string_pretty(schemas).unwrap();
    std::fs::write(path(), text + "\n").unwrap();
}

fn blessing() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a person asks this test to write, by the environment")]
    std::env::var_os("PANGAEA_BLESS").is_some_and(|value| value == "1")
}

/// A schema as schemars writes it, with references and texts for people.
fn released() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sample",
        "description": "A sample.",
        "type": "object",
        "properties": {
            "order_id": { "type": "string", "pattern": "^ord_" },
            "note": { "type": ["string", "null"], "default": null },
            "total": { "$ref": "#/$defs/Money" },
            "state": { "$ref": "#/$defs/State" },
            "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } },
            "by_key": { "type": "object", "additionalProperties": { "type": "integer", "format": "int64" } },
            "actor": { "anyOf": [{ "$ref": "#/$defs/Money" }, { "type": "null" }] }
        },
        "required": ["order_id", "total", "state", "lines", "by_key"],
        "$defs": {
            "Money": { "type": "object", "properties": { "amount": { "type": "integer", "format": "int64" } }, "required": ["amount"] },
            "State": { "oneOf": [{ "type": "string", "enum": ["placed", "paid"] }, { "type": "string", "const": "gone", "description": "For good." }] },
            "Line": { "type": "object", "properties": { "quantity": { "type": "integer", "format": "uint32", "minimum": 0 } }, "required": ["quantity"] }
        }
    })
}

/// The difference that one planted change makes.
fn planted(change: impl FnOnce(&mut Value)) -> Difference {
    let mut new = released();
    change(&mut new);
    let locked = Schemas::from([("order.evt.sample.v1".to_owned(), normalized(&released()))]);
    compare(&locked, &Schemas::from([("order.evt.sample.v1".to_owned(), normalized(&new))]))
}

fn remove(value: &mut Value, pointer: &str, name: &str) {
    value.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(name).unwrap();
}

fn set(value: &mut Value, pointer: &str, name: &str, to: Value) {
    value.pointer_mut(pointer).unwrap()[name] = to;
}

#[test]
fn breaking_changes_are_seen_wherever_they_are() {
    type Plant = fn(&mut Value);
    let cases: &[(&str, &str, Plant)] = &[
        ("/note", "the field was removed", |schema| remove(schema, "/properties", "note")),
        ("/lines/[]/quantity", "the field was removed", |schema| remove(schema, "/$defs/Line/properties", "quantity")),
        ("/order_id", "`type` changed", |schema| set(schema, "/properties/order_id", "type", json!("integer"))),
        ("/order_id", "`pattern` changed", |schema| set(schema, "/properties/order_id", "pattern", json!("^x_"))),
        ("/lines/[]/quantity", "`format` changed", |schema| {
            set(schema, "/$defs/Line/properties/quantity", "format", json!("uint8"));
        }),
        ("/by_key/[]", "`format` changed", |schema| {
            set(schema, "/properties/by_key/additionalProperties", "format", json!("int32"));
        }),
        ("/by_key", "`additionalProperties` changed", |schema| {
            remove(schema, "/properties/by_key", "additionalProperties")
        }),
        ("/note", "the field became required", |schema| {
            schema["required"].as_array_mut().unwrap().push(json!("note"));
        }),
        ("/extra", "a new field is required", |schema| {
            set(schema, "/properties", "extra", json!({ "type": "string" }));
            schema["required"].as_array_mut().unwrap().push(json!("extra"));
        }),
        ("/state", "the enum value \"paid\" was removed", |schema| {
            set(schema, "/$defs/State/oneOf/0", "enum", json!(["placed"]));
        }),
        ("/actor", "an alternative was removed or changed", |schema| {
            set(schema, "/properties/actor", "anyOf", json!([{ "type": "string" }, { "type": "null" }]));
        }),
        ("/lines", "`type` changed", |schema| set(schema, "/properties", "lines", json!({ "type": "string" }))),
    ];
    for (place, what, plant) in cases {
        let difference = planted(plant);
        let place = format!("order.evt.sample.v1 {place}");
        let found = difference.breaking.iter().any(|change| change.place == place && change.what.starts_with(what));
        assert!(found, "{place}: {what} is not in {difference:?}");
    }
}

#[test]
fn additive_changes_are_seen_and_break_nothing() {
    type Plant = fn(&mut Value);
    let cases: &[(&str, &str, Plant)] = &[
        ("/extra", "a new optional field", |schema| {
            set(schema, "/properties", "extra", json!({ "type": ["string", "null"], "default": null }));
        }),
        ("/lines/[]/gift", "a new optional field", |schema| {
            set(schema, "/$defs/Line/properties", "gift", json!({ "type": "boolean", "default": false }));
        }),
        ("/state", "the enum value \"lost\" is new", |schema| {
            set(schema, "/$defs/State/oneOf/0", "enum", json!(["placed", "paid", "lost"]));
        }),
        ("/state", "`x-personal` changed", |schema| {
            set(
                schema,
                "/properties",
                "state",
                json!({ "type": "string", "enum": ["gone", "paid", "placed"], "x-personal": true }),
            );
        }),
        ("/lines", "the field is no longer required", |schema| {
            schema["required"].as_array_mut().unwrap().retain(|name| name != "lines");
        }),
        ("/actor", "a new alternative", |schema| {
            schema["properties"]["actor"]["anyOf"].as_array_mut().unwrap().push(json!({ "type": "string" }));
        }),
    ];
    for (place, what, plant) in cases {
        let difference = planted(plant);
        let place = format!("order.evt.sample.v1 {place}");
        let found = difference.additive.iter().any(|change| change.place == place && change.what.starts_with(what));
        assert!(found && difference.breaking.is_empty(), "{place}: {what} is not in {difference:?}");
    }
}

#[test]
fn an_alternative_may_grow() {
    let difference = planted(|schema| {
        set(schema, "/$defs/Money/properties", "rounded", json!({ "type": "boolean", "default": false }));
    });
    assert!(difference.breaking.is_empty(), "{difference:?}");
    let places: Vec<_> = difference.additive.iter().map(|change| change.place.as_str()).collect();
    assert_eq!(places, ["order.evt.sample.v1 /actor/rounded", "order.evt.sample.v1 /total/rounded"]);
}

#[test]
fn what_is_not_on_the_wire_is_no_change() {
    let same = planted(|schema| {
        set(schema, "", "title", json!("Renamed"));
        set(schema, "/properties/order_id", "description", json!("Better words."));
        schema["required"].as_array_mut().unwrap().reverse();
        let moved = schema["$defs"].as_object_mut().unwrap().remove("Money").unwrap();
        set(schema, "/$defs", "Amount", moved);
        set(schema, "/properties", "total", json!({ "$ref": "#/$defs/Amount" }));
        set(schema, "/properties/actor", "anyOf", json!([{ "type": "null" }, { "$ref": "#/$defs/Amount" }]));
        set(schema, "/$defs", "State", json!({ "type": "string", "enum": ["placed", "paid", "gone"] }));
    });
    assert!(same.is_empty(), "{same:?}");
}

#[test]
fn a_type_that_contains_itself_is_followed_once() {
    let tree = json!({
        "$ref": "#/$defs/Tree",
        "$defs": { "Tree": { "type": "array", "items": { "$ref": "#/$defs/Tree" } } }
    });
    assert_eq!(normalized(&tree), json!({ "type": "array", "items": { "$ref": "Tree" } }));
}

#[test]
fn subjects_come_and_do_not_go() {
    let one = |subject: &str| Schemas::from([(subject.to_owned(), json!({ "type": "object" }))]);
    let difference = compare(&one("order.evt.a.v1"), &one("order.evt.b.v1"));
    let shown: Vec<String> = difference.breaking.iter().chain(&difference.additive).map(ToString::to_string).collect();
    assert_eq!(shown, ["order.evt.a.v1: the subject was removed", "order.evt.b.v1: a new message"]);
}

#[test]
fn only_additive_changes_are_blessed() {
    let change = || Change { place: "order.evt.a.v1 /x".into(), what: "the field was removed".into() };
    let breaking = Difference { breaking: vec![change()], additive: vec![change()] };
    for blessing in [false, true] {
        let message = verdict(&breaking, blessing).unwrap_err();
        assert!(message.contains("breaking: order.evt.a.v1 /x: the field was removed"), "{message}");
        assert_eq!(message.contains("Nothing was recorded"), blessing);
    }
    let additive = Difference { additive: vec![change()], ..Difference::default() };
    let message = verdict(&additive, false).unwrap_err();
    assert!(
        message.contains("additive: run `PANGAEA_BLESS=1 cargo test -p pangaea-contracts` to record it"),
        "{message}"
    );
    assert_eq!(verdict(&additive, true), Ok(true));
    assert_eq!(verdict(&Difference::default(), true), Ok(false));
}
