//! The trees by cause with bars over time: one scale for everything that one cause from outside led to.

use std::fmt::Write as _;

use pangaea_contracts::{Subject, Timestamp};

use super::fact::{FactKind, Outcome};
use super::report::{Report, Step};
use super::style::{Style, Tone};
use super::text::tone;
use super::tree::trees;

/// Columns of the step's number, and of what stands behind the bar.
const NUMBER: usize = 4;
const DURATION: usize = 9;
const BAR_MIN: usize = 10;
const LABEL_MIN: usize = 16;
/// A long chain would else push its names out of the picture.
const INDENT_MAX: usize = 24;

/// One tree's columns and scale.
struct Scale {
    start: Timestamp,
    span_ms: i64,
    label: usize,
    bar: usize,
}

/// What a bar is drawn with.
struct Glyphs {
    way: char,
    effect: char,
    timer: char,
    handled: char,
    open: char,
    dead: char,
}

const BLOCKS: Glyphs = Glyphs { way: '░', effect: '▒', timer: '·', handled: '█', open: '▸', dead: '✗' };
const ASCII: Glyphs = Glyphs { way: '-', effect: '=', timer: '.', handled: '#', open: '>', dead: 'x' };

/// Every tree, a line for each of its steps.
pub(super) fn waterfall(report: &Report, style: Style) -> String {
    let parents: Vec<Option<usize>> = report.steps.iter().map(|step| step.cause.map(|number| number - 1)).collect();
    let glyphs = if style.is_ascii { ASCII } else { BLOCKS };
    let Glyphs { way, effect, timer, handled, open, dead } = glyphs;
    let mut text = String::new();
    let legend =
        format!("{way} on its way  {effect} effect  {timer} timer  {handled} handled  {open} open  {dead} dead");
    if !report.steps.is_empty() {
        let _ = writeln!(text, "\n{}", style.paint(Tone::Dim, &legend));
    }
    for tree in trees(&parents) {
        let steps: Vec<&Step> = tree.iter().filter_map(|index| report.steps.get(*index)).collect();
        let Some(root) = steps.first() else { continue };
        let scale = Scale::of(&steps, root.depth, style.width);
        let moment = root.handled_at.or(root.published_at).unwrap_or_default();
        let heading = format!("#{} {} at {moment}, {}", root.number, root.subject, duration(scale.span_ms));
        let _ = writeln!(text, "{}", style.paint(Tone::Strong, &heading));
        for step in &steps {
            text.push_str(&scale.line(step, root.depth, &glyphs, style));
        }
    }
    text
}

/// A length of time with a unit that suits it.
pub(super) fn duration(millis: i64) -> String {
    match millis.unsigned_abs() {
        0..10_000 => format!("{millis} ms"),
        10_000..600_000 => format!("{}.{} s", millis / 1_000, millis.unsigned_abs() % 1_000 / 100),
        600_000..36_000_000 => format!("{} min", millis / 60_000),
        36_000_000..864_000_000 => format!("{} h", millis / 3_600_000),
        _ => format!("{} d", millis / 86_400_000),
    }
}

// === impl Scale ===

impl Scale {
    fn of(steps: &[&Step], root_depth: usize, width: usize) -> Self {
        let moments = || steps.iter().flat_map(|step| [step.published_at, step.handled_at]).flatten();
        let start = moments().min().unwrap_or_default();
        let span_ms = moments().max().unwrap_or_default().millis_since(start);
        let longest = steps.iter().map(|step| label(step, root_depth).chars().count()).max().unwrap_or(0);
        let label = longest.min((width * 2 / 5).max(LABEL_MIN));
        let bar = width.saturating_sub(NUMBER + label + DURATION + 3).max(BAR_MIN);
        Self { start, span_ms, label, bar }
    }

    fn line(&self, step: &Step, root_depth: usize, glyphs: &Glyphs, style: Style) -> String {
        let name: String = label(step, root_depth).chars().take(self.label).collect();
        let bar = style.paint(tone(&step.outcome), &self.bar(step, glyphs));
        let wait = step.wait_ms.map(duration).unwrap_or_default();
        let width = self.label;
        let line = format!("{:>NUMBER$} {name:width$} {bar} {wait:>DURATION$}", step.number);
        format!("{}\n", line.trim_end())
    }

    fn bar(&self, step: &Step, glyphs: &Glyphs) -> String {
        let on_the_way = match step.kind {
            FactKind::Effect => glyphs.effect,
            FactKind::Timer => glyphs.timer,
            _ => glyphs.way,
        };
        let (end, mark) = match (&step.outcome, step.handled_at) {
            (Outcome::Dead { .. } | Outcome::Parked, Some(at)) => (self.column(at), glyphs.dead),
            (_, Some(at)) => (self.column(at), glyphs.handled),
            (outcome, None) if outcome.is_open() => (self.bar - 1, glyphs.open),
            // Said, and nobody is known to have heard it.
            (_, None) => (self.column(step.published_at.unwrap_or_default()), on_the_way),
        };
        let begin = step.published_at.map_or(end, |moment| self.column(moment)).min(end);
        let drawn = |column: usize| match column {
            _ if column == end => mark,
            _ if (begin..end).contains(&column) => on_the_way,
            _ => ' ',
        };
        (0..self.bar).map(drawn).collect()
    }

    fn column(&self, moment: Timestamp) -> usize {
        let offset = moment.millis_since(self.start).clamp(0, self.span_ms) as u128;
        let column = offset * (self.bar as u128 - 1) / u128::from(self.span_ms.unsigned_abs().max(1));
        usize::try_from(column).unwrap_or(0)
    }
}

/// The module and the name within the subject, indented by the causes before it.
fn label(step: &Step, root_depth: usize) -> String {
    let name = Subject::parse(&step.subject).map_or_else(|_| step.subject.clone(), |subject| subject.name);
    let indent = step.depth.saturating_sub(root_depth).min(INDENT_MAX);
    format!("{}{} {name}", " ".repeat(indent), step.module)
}
