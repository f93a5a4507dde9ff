use super::Case;
use crate::report::Check;

/// Shorter ones would be found by chance.
const SECRET_CHARS_MIN: usize = 12;

/// What is secret is in no journal, no stream, no stored answer and no reply.
pub(super) fn absent(case: &Case) -> Check {
    let mut check = Check::new("secrets", "nothing secret is in a journal, a stream, a stored answer or a reply");
    let kept = case.journals.iter().flat_map(|journal| &journal.secrets);
    let mut secrets: Vec<&str> = kept.map(String::as_str).filter(|text| text.len() >= SECRET_CHARS_MIN).collect();
    let kept = secrets.len();
    secrets.extend(case.canaries.iter().map(String::as_str).filter(|text| !text.is_empty()));
    for (place, text) in texts(case) {
        check.look();
        if let Some(index) = secrets.iter().position(|secret| text.contains(secret)) {
            let what =
                if index < kept { "a value of the secret table".to_owned() } else { format!("{:?}", secrets[index]) };
            check.breach(format!("{place} holds {what}"));
        }
    }
    check
}

fn texts(case: &Case) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for journal in &case.journals {
        let module = journal.module;
        for input in &journal.inbox {
            texts.push((format!("{module}: the input {} ({})", input.id, input.subject), input.payload.clone()));
            texts.extend(input.answer.clone().map(|answer| (format!("{module}: the answer to {}", input.id), answer)));
        }
        let messages = journal.outbox.iter().map(|row| (&row.id, &row.payload));
        let pending = journal.timers.iter().chain(&journal.effects).map(|row| (&row.id, &row.payload));
        let letters = journal.letters.iter().flat_map(|row| [(&row.id, &row.input), (&row.id, &row.error)]);
        let all = messages.chain(pending).chain(letters);
        texts.extend(all.map(|(id, text)| (format!("{module}: {id}"), text.clone())));
    }
    for (module, stored) in case.streams.iter().flatten() {
        let stored = stored.messages.iter().map(|row| &row.message);
        texts.extend(stored.map(|row| (format!("the stream of {module}: {}", row.id), row.payload.clone())));
    }
    for reply in case.replies.iter().flatten() {
        texts.push((format!("the reply to {} {}", reply.method, reply.path), reply.body.to_string()));
    }
    texts
}
