//! `pangaea replay FILE --step`: one input after the other, with what it says and which rows it changes.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use pangaea_contracts::Timestamp;
use pangaea_kernel::Definition;
use pangaea_replay::{Bound, Happened, Ignore, ModuleRecording, RowsWanted, Spot, Traveller, find};

use super::shown::Page;
use super::state::table;
use crate::commands::record::{Place, parse_place};
use crate::commands::trace::style::{Style, Tone};

const VALUE_CHARS_MAX: usize = 600;
const ROWS_MAX: usize = 20;
/// Bytes of one command, at most.
const LINE_BYTES_MAX: u64 = 4_096;
const HELP: &str = "\
  Enter, n       the next input
  c              on to the next input that does something else than was recorded
  /TEXT          on to the next input whose subject, key or id contains TEXT
  g [MODULE] POS to an input of a module, forwards or back; g TIME to the first at that moment or later
  s              the tables; s TABLE [KEY] rows of one
  q              end
";

/// What is asked for.
#[derive(Debug, PartialEq)]
enum Command {
    Next,
    Continue,
    Find(String),
    /// To a position, of a module where there are several, or a moment.
    Go(Option<String>, String),
    Tables,
    Show {
        table: String,
        key: Option<String>,
    },
    Quit,
    Help,
}

struct Session<W> {
    traveller: Traveller,
    modules: Vec<ModuleRecording>,
    bound: Bound,
    out: W,
    style: Style,
    /// When the first input was that was shown.
    since: Option<Timestamp>,
}

/// Steps until nothing more is asked: at a terminal by hand, elsewhere by the lines of standard input.
pub(super) async fn run(
    pairs: Vec<(ModuleRecording, Arc<Definition>)>,
    bound: Bound,
    ignore: Ignore,
) -> Result<ExitCode> {
    let modules = pairs.iter().map(|(module, _)| module.clone()).collect();
    let traveller = Traveller::at_start(pairs, bound, ignore).await?;
    let style = Style::of_stdout(None, false);
    let mut session = Session { traveller, modules, bound, out: std::io::stdout(), style, since: None };
    session.next().await?;
    while let Some(line) = read_line().await? {
        match line.parse::<Command>() {
            Ok(Command::Quit) => break,
            Ok(command) => session.obey(command).await?,
            Err(reason) => session.say(&reason)?,
        }
    }
    session.traveller.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// The next line of standard input; `None` at its end.
async fn read_line() -> Result<Option<String>> {
    let line = tokio::task::spawn_blocking(|| {
        if std::io::stdin().is_terminal() {
            print!("> ");
            std::io::stdout().flush()?;
        }
        let mut line = String::new();
        std::io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line)?;
        std::io::Result::Ok((!line.is_empty()).then_some(line))
    });
    line.await.context("reading was broken off")?.context("standard input")
}

// === impl Session ===

impl<W: Write> Session<W> {
    async fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Next => self.next().await,
            Command::Continue => self.go_on().await,
            Command::Find(text) => self.find(&text).await,
            Command::Go(module, place) => self.go(module.as_deref(), &place).await,
            Command::Tables => self.tables(),
            Command::Show { table, key } => self.show_rows(table, key).await,
            Command::Help => Ok(write!(self.out, "{HELP}")?),
            Command::Quit => Ok(()),
        }
    }

    async fn next(&mut self) -> Result<()> {
        match self.traveller.step().await? {
            Some(happened) => self.show(&happened),
            None => self.say("this is the end: nothing more is to be handled"),
        }
    }

    async fn go_on(&mut self) -> Result<()> {
        let mut passed = 0;
        while let Some(happened) = self.traveller.step().await? {
            if !happened.is_as_recorded() {
                return self.show(&happened);
            }
            passed += 1;
        }
        self.say(&format!("this is the end: {passed} inputs passed, all as recorded"))
    }

    async fn find(&mut self, text: &str) -> Result<()> {
        let Some(here) = self.traveller.peek().await? else { return self.next().await };
        let found = find(&self.modules, Some(here), |_, entry| {
            [&entry.subject, &entry.key, &entry.id].into_iter().any(|field| field.contains(text))
        });
        match found.await?.filter(|spot| self.bound.includes(*spot)) {
            Some(spot) => self.stop_at(spot).await,
            None => self.say(&format!("no input from here on has {text:?} in its subject, key or id")),
        }
    }

    async fn go(&mut self, module: Option<&str>, place: &str) -> Result<()> {
        let place = match parse_place(place) {
            Ok(place) => place,
            Err(reason) => return self.say(&reason),
        };
        let names: Vec<_> = self.modules.iter().map(ModuleRecording::name).collect();
        let module = match (module, names.as_slice(), place) {
            (Some(name), names, _) if !names.contains(&name) => {
                let reason = format!("there is no module {name:?} here; there are {}", names.join(", "));
                return self.say(&reason);
            }
            (Some(name), names, _) => names.iter().position(|known| *known == name),
            (None, [_], _) | (None, _, Place::Time(_)) => None,
            (None, names, Place::Position(_)) => {
                let reason = format!("a position is one of a module: g MODULE POS, of {}", names.join(", "));
                return self.say(&reason);
            }
        };
        let is_there = |spot: Spot| match place {
            Place::Position(position) => spot.position == position,
            Place::Time(time) => spot.time >= time,
        };
        let is_wanted = |spot: Spot| module.is_none_or(|module| module == spot.module) && is_there(spot);
        let found = find(&self.modules, None, |spot, _| is_wanted(spot)).await?;
        match found.filter(|spot| self.bound.includes(*spot)) {
            Some(spot) => self.stop_at(spot).await,
            None => self.say("there is no such input on this way"),
        }
    }

    /// Goes to the input there, back to the start first where it is handled already, and shows it.
    async fn stop_at(&mut self, spot: Spot) -> Result<()> {
        if self.traveller.peek().await?.is_none_or(|next| spot < next) {
            self.traveller.rewind().await?;
        }
        self.traveller.pass(|passed| passed < spot).await?;
        self.next().await
    }

    fn tables(&mut self) -> Result<()> {
        for (number, module) in self.modules.iter().enumerate() {
            let names: Vec<_> = self.traveller.tables(number).collect();
            writeln!(self.out, "{}: {}", module.name(), names.join(", "))?;
        }
        Ok(())
    }

    async fn show_rows(&mut self, name: String, key: Option<String>) -> Result<()> {
        let has_it = |number: &usize| self.traveller.tables(*number).any(|table| table == name);
        let holders: Vec<usize> = (0..self.modules.len()).filter(has_it).collect();
        if holders.is_empty() {
            self.say(&format!("there is no table {name:?}; there are:"))?;
            return self.tables();
        }
        let wanted = RowsWanted { table: Some(name), key, rows_max: ROWS_MAX };
        for number in holders {
            for view in self.traveller.rows(number, &wanted).await? {
                write!(self.out, "{} {}", view.module, table(&view))?;
            }
        }
        Ok(self.out.flush()?)
    }

    fn show(&mut self, happened: &Happened) -> Result<()> {
        let since = *self.since.get_or_insert(happened.input.admitted_at);
        let mut page = Page::new(self.style, VALUE_CHARS_MAX);
        page.input(happened, since);
        if happened.is_as_recorded() {
            page.line("    ", Tone::Dim, "as recorded");
        }
        write!(self.out, "{}", page.text)?;
        Ok(self.out.flush()?)
    }

    fn say(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }
}

// === impl Command ===

impl std::str::FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let line = line.trim();
        if let Some(text) = line.strip_prefix('/').filter(|text| !text.is_empty()) {
            return Ok(Self::Find(text.to_owned()));
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["n"] => Ok(Self::Next),
            ["c"] => Ok(Self::Continue),
            ["g", place] => Ok(Self::Go(None, (*place).to_owned())),
            ["g", module, place] => Ok(Self::Go(Some((*module).to_owned()), (*place).to_owned())),
            ["s"] => Ok(Self::Tables),
            ["s", table] => Ok(Self::Show { table: (*table).to_owned(), key: None }),
            ["s", table, key] => Ok(Self::Show { table: (*table).to_owned(), key: Some((*key).to_owned()) }),
            ["q"] => Ok(Self::Quit),
            ["h" | "?"] => Ok(Self::Help),
            _ => Err(format!("{line:?} is no command; h shows them")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Command;

    #[test]
    fn lines_are_commands_or_refused() {
        let text = str::to_owned;
        for (line, expected) in [
            ("\n", Command::Next),
            ("n", Command::Next),
            ("c ", Command::Continue),
            ("/order.rpc place", Command::Find(text("order.rpc place"))),
            ("g 12", Command::Go(None, text("12"))),
            ("g order 12", Command::Go(Some(text("order")), text("12"))),
            ("s", Command::Tables),
            ("s orders", Command::Show { table: text("orders"), key: None }),
            ("s orders ord_1", Command::Show { table: text("orders"), key: Some(text("ord_1")) }),
            ("q", Command::Quit),
            ("h", Command::Help),
        ] {
            assert_eq!(line.parse::<Command>(), Ok(expected), "{line}");
        }
        for line in ["x", "g", "/", "s a b c"] {
            assert!(line.parse::<Command>().is_err(), "{line}");
        }
    }
}
