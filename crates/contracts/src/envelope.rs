use crate::{Actor, Timestamp};

/// The largest JSON payload of a message, in bytes. What is larger travels by reference.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// A message and all that is known of it: a row of its source's outbox, and headers on NATS.
///
/// It maps one to one to CloudEvents 1.0 in binary mode, see [`cloud_event_headers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Unique; derived from the input that caused the message, so a rerun gives the same.
    pub id: String,
    /// Without the namespace.
    pub subject: String,
    /// The module that speaks.
    pub source: String,
    /// Names the history of the source's log; a restored or reset source has a new one.
    pub log_id: String,
    /// Dense, from 1: the message's place in the source's log.
    pub position: u64,
    /// The id of the aggregate that the message is about.
    pub key: String,
    /// The input that caused this message.
    pub causation_id: String,
    /// The first input of the whole chain.
    pub correlation_id: String,
    pub actor: Actor,
    pub time: Timestamp,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    /// JSON, at most [`PAYLOAD_BYTES_MAX`].
    pub payload: String,
}

/// The envelope as CloudEvents attributes in binary mode (`ce-*` headers); the payload is the body.
///
/// Source: CloudEvents 1.0, NATS protocol binding. Extension attributes: `position`, `logid`, `causationid`,
/// `correlationid`, `actor`, and `traceparent` from the distributed tracing extension.
pub fn cloud_event_headers(envelope: &Envelope) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", envelope.id.clone()),
        ("ce-source", format!("/{}", envelope.source)),
        ("ce-type", envelope.subject.clone()),
        ("ce-subject", envelope.key.clone()),
        ("ce-time", envelope.time.to_string()),
        ("ce-datacontenttype", "application/json".to_owned()),
        ("ce-position", envelope.position.to_string()),
        ("ce-logid", envelope.log_id.clone()),
        ("ce-causationid", envelope.causation_id.clone()),
        ("ce-correlationid", envelope.correlation_id.clone()),
        ("ce-actor", envelope.actor.to_string()),
    ];
    if let Some(traceparent) = &envelope.traceparent {
        headers.push(("ce-traceparent", traceparent.clone()));
    }
    headers
}

/// The reverse of [`cloud_event_headers`].
///
/// # Errors
/// Names the header that is missing or malformed.
pub fn from_cloud_event_headers<'a>(
    header: impl Fn(&'static str) -> Option<&'a str>,
    payload: String,
) -> Result<Envelope, String> {
    let required = |name| header(name).map(str::to_owned).ok_or_else(|| format!("header {name} is missing"));
    let time =
        serde_json::from_value(required("ce-time")?.into()).map_err(|error| format!("header ce-time: {error}"))?;
    let source = required("ce-source")?;
    Ok(Envelope {
        id: required("ce-id")?,
        subject: required("ce-type")?,
        source: source.strip_prefix('/').unwrap_or(&source).to_owned(),
        log_id: required("ce-logid")?,
        position: required("ce-position")?.parse().map_err(|error| format!("header ce-position: {error}"))?,
        key: required("ce-subject")?,
        causation_id: required("ce-causationid")?,
        correlation_id: required("ce-correlationid")?,
        actor: required("ce-actor")?.parse().map_err(|error| format!("header ce-actor: {error}"))?,
        time,
        traceparent: header("ce-traceparent").map(str::to_owned),
        payload,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::Role;

    #[test]
    fn maps_one_to_one_to_cloud_events() {
        let envelope = Envelope {
            id: "msg_1".into(),
            subject: "order.evt.placed.v1".into(),
            source: "order".into(),
            log_id: "log_1".into(),
            position: 7,
            key: "ord_1".into(),
            causation_id: "cmd_1".into(),
            correlation_id: "cmd_0".into(),
            actor: Actor::user("usr_1", [Role::Customer]),
            time: Timestamp::from_millis(1_700_000_000_042),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            payload: "{}".into(),
        };
        let headers: HashMap<_, _> = cloud_event_headers(&envelope).into_iter().collect();
        for attribute in ["ce-specversion", "ce-id", "ce-source", "ce-type"] {
            assert!(headers.contains_key(attribute), "CloudEvents requires {attribute}");
        }
        let read = |name: &'static str| headers.get(name).map(String::as_str);
        assert_eq!(from_cloud_event_headers(read, "{}".into()).unwrap(), envelope);
        let without = |name: &'static str| if name == "ce-position" { None } else { read(name) };
        assert_eq!(from_cloud_event_headers(without, "{}".into()).unwrap_err(), "header ce-position is missing");
    }
}
