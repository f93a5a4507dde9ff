//! Envelopes as NATS messages: CloudEvents attributes as headers, the payload as the body.

use async_nats::HeaderMap;
use bytes::Bytes;
use pangaea_contracts::{Envelope, cloud_event_headers, from_cloud_event_headers};

/// More attributes than an envelope has; what a foreign publisher adds beyond is not looked at.
const ATTRIBUTES_MAX: usize = 24;

/// Where a stored message stands in its source's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) log_id: &'a str,
    pub(super) position: u64,
    pub(super) id: &'a str,
}

/// # Errors
/// Names the attribute that cannot be a header. Ids and keys never hold a line break unless a module makes them so.
pub(super) fn headers(envelope: &Envelope) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in cloud_event_headers(envelope) {
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(format!("attribute {name} of message {} holds a control character", envelope.id));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Where a stored message stands; none when no relay has written it.
pub(super) fn place(headers: &HeaderMap) -> Option<Place<'_>> {
    Attributes::of(headers).place()
}

/// The `ce-*` headers by one walk: each lookup in a `HeaderMap` would allocate the name it looks for.
pub(super) struct Attributes<'a> {
    found: [(&'a str, &'a str); ATTRIBUTES_MAX],
    len: usize,
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut attributes = Self { found: [("", ""); ATTRIBUTES_MAX], len: 0 };
        for (name, values) in headers.iter() {
            let name: &str = name.as_ref();
            if let Some(value) = values.first()
                && name.starts_with("ce-")
                && attributes.len < ATTRIBUTES_MAX
            {
                attributes.found[attributes.len] = (name, value.as_str());
                attributes.len += 1;
            }
        }
        attributes
    }

    /// Reads where a message stands without decoding the rest, so that duplicates cost little.
    pub(super) fn place(&self) -> Option<Place<'a>> {
        Some(Place {
            log_id: self.get("ce-logid")?,
            position: self.get("ce-position")?.parse().ok()?,
            id: self.get("ce-id")?,
        })
    }

    /// # Errors
    /// Names the header that is missing or malformed.
    pub(super) fn envelope(&self, payload: &Bytes) -> Result<Envelope, String> {
        let payload = std::str::from_utf8(payload).map_err(|error| format!("the payload is not UTF-8: {error}"))?;
        from_cloud_event_headers(|name| self.get(name), payload.to_owned())
    }

    fn get(&self, wanted: &str) -> Option<&'a str> {
        self.found[..self.len].iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use pangaea_contracts::{Actor, Timestamp};

    use super::*;

    fn message() -> Envelope {
        Envelope {
            id: "msg_1".into(),
            subject: "order.cmd.payment.authorize.v1".into(),
            source: "order".into(),
            log_id: "log_1".into(),
            position: 42,
            key: "ord_ä".into(),
            causation_id: "cmd_1".into(),
            correlation_id: "cmd_0".into(),
            actor: Actor::system(),
            time: Timestamp::from_millis(1_700_000_000_042),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            payload: "{\"note\":\"ß\"}".into(),
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let sent = message();
        let headers = headers(&sent).unwrap();
        assert_eq!(place(&headers), Some(Place { log_id: "log_1", position: 42, id: "msg_1" }));
        assert_eq!(Attributes::of(&headers).envelope(&Bytes::from(sent.payload.clone())).unwrap(), sent);
    }

    #[test]
    fn refuses_what_cannot_travel() {
        let mut bad = message();
        bad.key = "ord_1\r\nce-id: other".into();
        assert!(headers(&bad).unwrap_err().contains("ce-subject"));
        let headers = headers(&message()).unwrap();
        assert!(Attributes::of(&headers).envelope(&Bytes::from_static(&[0xff])).unwrap_err().contains("UTF-8"));
        assert_eq!(place(&HeaderMap::new()), None);
    }
}
