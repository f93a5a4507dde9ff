use std::fmt;

/// What a message is, as its subject says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `<source>.evt.<name>.v<major>`: something that happened. Travels in the source's log.
    Event,
    /// `<source>.cmd.<target>.<name>.v<major>`: asks one module to act. Travels in the source's log.
    Command,
    /// `<server>.rpc.<name>.v<major>`: request/reply; a command from HTTP is one, passed to the module's leader.
    Request,
    /// `<module>.tmr.<name>.v<major>`: a timer that has come due. Never leaves its module.
    Timer,
    /// `<module>.eff.<name>.v<major>`: the result of an effect. Never leaves its module.
    Effect,
}

/// A parsed subject, without the namespace, which is configuration and is put in front by the bus.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub kind: Kind,
    /// The speaker for events and commands, the server for requests, the module itself for timers and effects.
    pub owner: String,
    /// The module a command is addressed to.
    pub target: Option<String>,
    pub name: String,
    pub major: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a subject: expected <source>.evt.<name>.v<major>, <source>.cmd.<target>.<name>.v<major> or <server>.rpc.<name>.v<major>"
)]
pub struct SubjectError(String);

// === impl Subject ===

impl Subject {
    /// # Errors
    /// When `text` does not have one of the five forms, or a token is not lower-case letters, digits and `_`.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        Self::parse_tokens(text).ok_or_else(|| SubjectError(text.chars().take(200).collect()))
    }

    fn parse_tokens(text: &str) -> Option<Self> {
        let tokens: Vec<&str> = text.split('.').collect();
        let sound = |token: &&str| {
            !token.is_empty()
                && token.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if !tokens.iter().all(sound) {
            return None;
        }
        let (kind, target, name, version) = match tokens.as_slice() {
            [_, "evt", name, version] => (Kind::Event, None, name, version),
            [_, "cmd", target, name, version] => (Kind::Command, Some((*target).to_owned()), name, version),
            [_, "rpc", name, version] => (Kind::Request, None, name, version),
            [_, "tmr", name, version] => (Kind::Timer, None, name, version),
            [_, "eff", name, version] => (Kind::Effect, None, name, version),
            _ => return None,
        };
        let major = version.strip_prefix('v')?.parse().ok()?;
        Some(Self { kind, owner: tokens[0].to_owned(), target, name: (*name).to_owned(), major })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, owner, target, name, major } = self;
        match (kind, target) {
            (Kind::Command, Some(target)) => write!(f, "{owner}.cmd.{target}.{name}.v{major}"),
            (kind, _) => write!(f, "{owner}.{}.{name}.v{major}", kind.token()),
        }
    }
}

// === impl Kind ===

impl Kind {
    pub const fn token(self) -> &'static str {
        match self {
            Kind::Event => "evt",
            Kind::Command => "cmd",
            Kind::Request => "rpc",
            Kind::Timer => "tmr",
            Kind::Effect => "eff",
        }
    }
}

/// Whether `subject` matches a NATS pattern: `*` stands for one token, a final `>` for one or more.
pub fn subject_matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Subject, subject_matches};

    #[test]
    fn parses_every_form_and_prints_it_again() {
        for text in [
            "order.evt.placed.v1",
            "order.cmd.payment.authorize.v2",
            "product.rpc.log_read.v1",
            "order.tmr.deadline.v1",
            "payment.eff.capture.v1",
        ] {
            assert_eq!(Subject::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "order",
            "order.evt.placed",
            "order.evt.Placed.v1",
            "order.evt..v1",
            "order.evt.placed.1",
            "order.cmd.authorize.v1",
            "a.xyz.b.v1",
            "order.evt.*.v1",
        ] {
            assert!(Subject::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn wildcards_follow_nats() {
        assert!(subject_matches("order.evt.>", "order.evt.placed.v1"));
        assert!(subject_matches("*.evt.*.v1", "order.evt.placed.v1"));
        assert!(!subject_matches("order.evt.>", "order.evt"));
        assert!(!subject_matches("order.*", "order.evt.placed.v1"));
        assert!(subject_matches("order.evt.placed.v1", "order.evt.placed.v1"));
    }
}
