use pangaea_blank_contracts::{Write, Written};
use pangaea_kernel::{Answer, Cx, Failure};

use crate::http::EntryView;
use crate::store::Entry;

/// Reads and decides, then writes: a refusal after a write counts as a bug.
pub(crate) async fn write(cx: &mut Cx, command: Write) -> Result<Answer, Failure> {
    let known = cx.get::<Entry>(&command.entry).await?;
    let version = known.map_or(1, |entry| entry.version + 1);
    let entry = Entry { entry: command.entry, version, text: command.text, written_at: cx.now() };
    let answer = Answer::json(200, &EntryView::from(&entry));
    cx.emit(&Written { entry: entry.entry.clone(), version });
    cx.put(entry);
    answer
}
