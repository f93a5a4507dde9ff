use crate::commands::status_line::StatusLine;

/// How far a scan of one module's inbox has come.
pub(super) struct Progress {
    module: &'static str,
    first: u64,
    last: u64,
    line: StatusLine,
}

// === impl Progress ===

impl Progress {
    pub(super) fn new(module: &'static str, first: u64, last: u64) -> Self {
        Self { module, first, last, line: StatusLine::new() }
    }

    pub(super) fn reached(&mut self, position: u64) {
        let Self { module, first, last, line } = self;
        line.show(|| {
            let (done, all) = (position.min(*last) - *first + 1, *last - *first + 1);
            format!("looking at the inbox of {module}: {done} of {all} ({} %)", done * 100 / all.max(1))
        });
    }
}
