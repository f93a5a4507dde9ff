//! How much may be done to a line: its width, its glyphs, its colours.

use console::Term;

use crate::commands::has_colours;

/// Where nobody says how wide it is.
const WIDTH_ELSEWHERE: usize = 120;

/// What the reader can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Style {
    /// Columns of the waterfall.
    pub(in crate::commands) width: usize,
    pub(in crate::commands) is_ascii: bool,
    pub(in crate::commands) has_colours: bool,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Tone {
    Strong,
    Dim,
    Good,
    Waiting,
    Bad,
}

// === impl Style ===

impl Style {
    /// The terminal's, where standard output is one.
    pub(in crate::commands) fn of_stdout(width: Option<usize>, is_ascii: bool) -> Self {
        let terminal = Term::stdout();
        let own = terminal.size_checked().map(|(_, columns)| usize::from(columns));
        Self { width: width.or(own).unwrap_or(WIDTH_ELSEWHERE), is_ascii, has_colours: has_colours() }
    }

    pub(in crate::commands) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Strong => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Waiting => "33",
            Tone::Bad => "31",
        };
        if self.has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
