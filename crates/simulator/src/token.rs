use serde::{Deserialize, Serialize};

/// The test token a payment is made with; it chooses how the provider behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Token {
    /// Everything succeeds.
    Ok,
    /// The authorization answers 402 `card_declined`.
    Declined,
    /// The intent stays at `requires_action` until it is confirmed.
    ActionRequired,
    /// The authorization is held, then the connection is closed; nothing is charged and no operation is found.
    Timeout,
    /// The first authorization under a key is booked, then the connection is closed without an answer. Copies of the
    /// key get the answer.
    ChargedReplyLost,
    /// Succeeds; its webhooks come two seconds late, often after later steps of the same payment.
    LateWebhook,
    /// Succeeds; each of its webhooks is delivered twice under one message id.
    DuplicateWebhook,
    /// About one call in three, capture and refund included, answers 503 before anything is done.
    Flaky,
    /// The authorization succeeds, every capture answers 402 `capture_failed`.
    CaptureFails,
}

const NAMES: [(&str, Token); 9] = [
    ("tok_ok", Token::Ok),
    ("tok_declined", Token::Declined),
    ("tok_action_required", Token::ActionRequired),
    ("tok_timeout", Token::Timeout),
    ("tok_charged_reply_lost", Token::ChargedReplyLost),
    ("tok_late_webhook", Token::LateWebhook),
    ("tok_duplicate_webhook", Token::DuplicateWebhook),
    ("tok_flaky", Token::Flaky),
    ("tok_capture_fails", Token::CaptureFails),
];

// === impl Token ===

impl Token {
    /// Finds a token by its name on the wire, such as `tok_ok`.
    pub fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, token)| *token)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(_, token)| *token == self).map_or("tok_ok", |(name, _)| name)
    }

    /// All names on the wire, for an error that says what is accepted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

impl From<Token> for &'static str {
    fn from(token: Token) -> Self {
        token.as_str()
    }
}

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name).ok_or_else(|| format!("unknown payment method {name:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_itself() {
        for name in Token::names() {
            assert_eq!(Token::parse(name).map(Token::as_str), Some(name));
        }
    }
}
