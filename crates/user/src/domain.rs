//! Accounts and sessions as values: what is acceptable, and what becomes of a session when a refresh token is used.

use pangaea_contracts::{Role, Timestamp};
use serde::{Deserialize, Serialize};

use crate::store::{Account, Session};

pub(crate) const ADDRESSES_MAX: usize = 10;
const EMAIL_CHARS_MAX: usize = 254;
const NAME_CHARS_MAX: usize = 100;
const PASSWORD_CHARS_MIN: usize = 10;
const PASSWORD_CHARS_MAX: usize = 128;
const LINE_CHARS_MAX: usize = 200;
const POSTAL_CODE_CHARS_MAX: usize = 20;

/// An e-mail address of a sound shape. It is kept as it was written, and compared without regard to case.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Email(String);

/// What an account holder may change. Kept sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) addresses: Vec<Address>,
}

/// A postal address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Who receives it, at most 100 characters.
    pub recipient: String,
    /// Street and number, at most 200 characters.
    pub line1: String,
    /// At most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// At most 200 characters.
    pub city: String,
    /// State or county, at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// At most 20 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Two upper-case letters (ISO 3166-1 alpha-2).
    pub country: String,
}

/// What using a refresh token means for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// The token was the newest: this is the next generation.
    Next(i64),
    /// The token has just been used, and the answer was probably lost: another token of the current generation.
    Again(i64),
    /// The token had been used long before: somebody else has it, so the whole family ends.
    Reused,
    /// The session is over.
    Ended,
}

// === impl Email ===

impl Email {
    /// # Errors
    /// Says what an address has to look like. Only the shape is checked: whether mail arrives is known when it does.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let sound = text.rsplit_once('@').is_some_and(|(local, domain)| {
            let label = |label: &str| {
                !label.is_empty() && label.len() <= 63 && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            };
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
            !local.is_empty() && local.len() <= 64 && local.chars().all(plain) && domain.split('.').all(label)
        });
        if sound && text.chars().count() <= EMAIL_CHARS_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("an e-mail address is name@domain, at most {EMAIL_CHARS_MAX} characters"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

/// # Errors
/// Says how long a password has to be.
pub(crate) fn check_password(password: &str) -> Result<(), String> {
    match password.chars().count() {
        PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX => Ok(()),
        _ => Err(format!("a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")),
    }
}

/// # Errors
/// Says how long a name may be.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    check_text(name, NAME_CHARS_MAX)
}

fn check_text(text: &str, chars_max: usize) -> Result<(), String> {
    let count = text.chars().count();
    if text.trim().is_empty() || count > chars_max || text.chars().any(char::is_control) {
        return Err(format!("1 to {chars_max} characters, no control characters"));
    }
    Ok(())
}

/// Sorted, each once.
///
/// # Errors
/// When there is none: such an account could do nothing at all.
pub(crate) fn sound_roles(mut roles: Vec<Role>) -> Result<Vec<Role>, String> {
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { Err("name at least one of customer, staff and admin".to_owned()) } else { Ok(roles) }
}

// === impl Address ===

impl Address {
    /// # Errors
    /// The field's name, and what it has to be.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let optional =
            |text: &Option<String>, chars_max| text.as_deref().map_or(Ok(()), |text| check_text(text, chars_max));
        check_text(&self.recipient, NAME_CHARS_MAX).map_err(|detail| ("recipient", detail))?;
        check_text(&self.line1, LINE_CHARS_MAX).map_err(|detail| ("line1", detail))?;
        optional(&self.line2, LINE_CHARS_MAX).map_err(|detail| ("line2", detail))?;
        check_text(&self.city, LINE_CHARS_MAX).map_err(|detail| ("city", detail))?;
        optional(&self.region, LINE_CHARS_MAX).map_err(|detail| ("region", detail))?;
        optional(&self.postal_code, POSTAL_CODE_CHARS_MAX).map_err(|detail| ("postal_code", detail))?;
        if self.country.len() != 2 || !self.country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(("country", "two upper-case letters, e.g. GB".to_owned()));
        }
        Ok(())
    }
}

// === impl Rotation ===

impl Rotation {
    /// `presented` is the generation of the token that was used.
    pub(crate) fn decide(session: &Session, account: &Account, presented: i64, now: Timestamp, grace_ms: i64) -> Self {
        let over = session.closed_at.is_some() || session.epoch != account.session_epoch || session.expires_at <= now;
        if over || presented > session.generation {
            return Self::Ended;
        }
        if presented == session.generation {
            return Self::Next(session.generation + 1);
        }
        let just_now = presented == session.generation - 1 && now.millis_since(session.rotated_at) <= grace_ms;
        if just_now { Self::Again(session.generation) } else { Self::Reused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pangaea_journal::Json;

    #[test]
    fn addresses_of_every_sound_shape_and_no_other() {
        for good in ["a@b", "Ann.Lee+shop@mail.example.org", "ü@bücher.example", " spaced@example.org "] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        let long = format!("a@{}", "b.".repeat(130));
        for bad in ["", "a", "@b", "a@", "a@b..c", "a b@c", "a@b c", "a@@b", "a\n@b", long.as_str()] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_bounded_in_characters_not_bytes() {
        assert!(check_password("ääääääääää").is_ok());
        assert!(check_password("123456789").is_err());
        assert!(check_password(&"x".repeat(128)).is_ok());
        assert!(check_password(&"x".repeat(129)).is_err());
    }

    #[test]
    fn roles_are_a_set() {
        assert_eq!(sound_roles(vec![Role::Admin, Role::Staff, Role::Admin]).unwrap(), [Role::Staff, Role::Admin]);
        assert!(sound_roles(vec![]).is_err());
    }

    #[test]
    fn an_address_names_the_field_at_fault() {
        let address = Address {
            recipient: "Ann".into(),
            line1: "1 High Street".into(),
            line2: None,
            city: "York".into(),
            region: None,
            postal_code: Some("YO1 7HH".into()),
            country: "GB".into(),
        };
        assert_eq!(address.check(), Ok(()));
        assert_eq!(Address { country: "gb".into(), ..address.clone() }.check().unwrap_err().0, "country");
        assert_eq!(Address { line2: Some(String::new()), ..address.clone() }.check().unwrap_err().0, "line2");
        assert_eq!(Address { city: "x".repeat(201), ..address }.check().unwrap_err().0, "city");
    }

    #[test]
    fn a_refresh_token_is_good_once_and_a_little_longer() {
        let at = Timestamp::from_millis;
        let session = Session {
            session_id: "ses_1".parse().unwrap(),
            user_id: "usr_1".parse().unwrap(),
            epoch: 0,
            generation: 3,
            opened_at: at(0),
            rotated_at: at(1_000),
            expires_at: at(100_000),
            closed_at: None,
        };
        let account = Account {
            user_id: "usr_1".parse().unwrap(),
            email_hash: String::new(),
            email_sealed: String::new(),
            profile_sealed: String::new(),
            roles: Json(vec![Role::Customer]),
            version: 1,
            session_epoch: 0,
            registered_at: at(0),
        };
        let decide = |presented, now| Rotation::decide(&session, &account, presented, at(now), 10_000);
        assert_eq!(decide(3, 50_000), Rotation::Next(4));
        assert_eq!(decide(2, 11_000), Rotation::Again(3));
        assert_eq!(decide(2, 11_001), Rotation::Reused);
        assert_eq!(decide(1, 1_001), Rotation::Reused, "the grace is for the generation just before only");
        assert_eq!(decide(4, 1_001), Rotation::Ended);
        assert_eq!(decide(3, 100_000), Rotation::Ended);
        let closed = Session { closed_at: Some(at(1)), ..session.clone() };
        assert_eq!(Rotation::decide(&closed, &account, 3, at(2), 10_000), Rotation::Ended);
        let signed_out = Account { session_epoch: 1, ..account.clone() };
        assert_eq!(Rotation::decide(&session, &signed_out, 3, at(2), 10_000), Rotation::Ended);
    }
}
