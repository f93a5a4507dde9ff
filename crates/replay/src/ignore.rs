//! What may differ without being a difference, as declared by who replays.

use std::str::FromStr;

use crate::compare::{Change, UtteranceKind};

/// Declared volatile fields and tables. Each rule is `POINTER`, `SUBJECT:POINTER` or `table:NAME`: a JSON pointer (RFC 6901)
/// into payloads, in which `*` stands for one step of any name, or `@id`, `@time`, `@due_at` and the like; the subject of
/// answers is `answer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Field {
        subject: Option<String>,
        path: Vec<String>,
    },
    /// All messages of a subject: said or not.
    Subject(String),
    Table(String),
}

// === impl Ignore ===

impl Ignore {
    /// # Errors
    /// Says which rule is none, and what one looks like.
    pub fn parse(rules: &[String]) -> Result<Self, String> {
        rules.iter().map(|rule| rule.parse()).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn takes_field(&self, kind: UtteranceKind, subject: &str, path: &str) -> bool {
        let subject = if kind == UtteranceKind::Answer { "answer" } else { subject };
        self.0.iter().any(|rule| match rule {
            Rule::Field { subject: wanted, path: rule } => {
                wanted.as_deref().is_none_or(|wanted| wanted == subject) && is_below(path, rule)
            }
            Rule::Subject(_) | Rule::Table(_) => false,
        })
    }

    pub(crate) fn takes(&self, change: &Change) -> bool {
        let subject = match change {
            Change::Missing(one) | Change::Added(one) => &one.subject,
            Change::Changed { subject, .. } => subject,
            Change::Failed { .. } => return false,
        };
        self.0.iter().any(|rule| matches!(rule, Rule::Subject(wanted) if wanted == subject))
    }

    pub(crate) fn takes_table(&self, table: &str) -> bool {
        self.0.iter().any(|rule| matches!(rule, Rule::Table(wanted) if wanted == table))
    }
}

fn is_below(path: &str, rule: &[String]) -> bool {
    let mut steps = path.split('/');
    rule.iter().all(|wanted| steps.next().is_some_and(|step| wanted == "*" || wanted == step))
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(table) = text.strip_prefix("table:").filter(|table| !table.is_empty()) {
            return Ok(Self::Table(table.to_owned()));
        }
        let (subject, path) = match text.split_once(':') {
            Some((subject, path)) => (Some(subject.to_owned()), path),
            None => (None, text),
        };
        let path_is_one = path.starts_with('/') || path.starts_with('@');
        match subject {
            _ if path_is_one => Ok(Self::Field { subject, path: path.split('/').map(str::to_owned).collect() }),
            None if text.contains('.') => Ok(Self::Subject(text.to_owned())),
            _ => Err(format!(
                "{text:?} is no rule; write a JSON pointer (/total/amount), one of a subject \
                 (order.evt.placed.v1:/lines/*/title), a whole subject, @id, or table:NAME"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ignore;
    use crate::compare::UtteranceKind::{Answer, Message};

    #[test]
    fn rules_take_what_they_name() {
        let rules = ["/a/*/c", "x.evt.y.v1:/d", "@time", "answer:/e", "table:t"].map(str::to_owned);
        let ignore = Ignore::parse(&rules).expect("they are rules");
        for (subject, path, taken) in [
            ("any", "/a/0/c", true),
            ("any", "/a/0/c/below", true),
            ("any", "/a/0", false),
            ("x.evt.y.v1", "/d", true),
            ("any", "/d", false),
            ("any", "@time", true),
            ("any", "/e", false),
        ] {
            assert_eq!(ignore.takes_field(Message, subject, path), taken, "{subject} {path}");
        }
        assert!(ignore.takes_field(Answer, "", "/e"));
        assert!(ignore.takes_table("t") && !ignore.takes_table("u"));
        assert!(Ignore::parse(&["nonsense".to_owned()]).is_err());
    }
}
