use pangaea_contracts::Timestamp;

/// How many lines an error shows.
const TAIL_LINES: usize = 12;

/// All that has come in and gone out, in order.
pub(super) struct Transcript {
    start: Timestamp,
    lines: Vec<String>,
}

/// Which way something went.
#[derive(Clone, Copy)]
pub(super) enum What {
    In,
    Out,
    Answer,
}

// === impl Transcript ===

impl Transcript {
    pub(super) fn new(start: Timestamp) -> Self {
        Self { start, lines: Vec::new() }
    }

    pub(super) fn add(&mut self, now: Timestamp, module: &str, what: What, subject: &str, body: &str) {
        let at = now.millis_since(self.start);
        let line = match what {
            What::In => format!("+{at} ms {module} <- {subject} {body}"),
            What::Out => format!("+{at} ms {module} -> {subject} {body}"),
            What::Answer => format!("+{at} ms {module} => {body}"),
        };
        self.lines.push(line);
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub(super) fn tail(&self) -> String {
        let hidden = self.lines.len().saturating_sub(TAIL_LINES);
        let cut = if hidden > 0 { format!("… {hidden} before\n") } else { String::new() };
        cut + &self.lines.iter().skip(hidden).map(|line| format!("{line}\n")).collect::<String>()
    }
}
