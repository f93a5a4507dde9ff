//! Reads the text that `/metrics` shows: as much of Prometheus' text format 0.0.4 as our own recorder writes, and nothing else.

/// One metric with all its series.
#[derive(Debug, PartialEq)]
pub(super) struct Family<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    pub(super) samples: Vec<Sample<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One line.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// What a histogram's line has behind the family's name: `_bucket`, `_sum` or `_count`; empty for other kinds.
    pub(super) suffix: &'a str,
    pub(super) labels: Labels<'a>,
    pub(super) value: &'a str,
}

/// Names and values, in the order of the line.
pub(super) type Labels<'a> = Vec<(&'a str, String)>;

/// A line that is not understood.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("line {number} of the metrics cannot be read: {what}")]
pub(super) struct Unreadable {
    number: usize,
    what: &'static str,
}

/// # Errors
/// At the first line that is not understood.
pub(super) fn families(text: &str) -> Result<Vec<Family<'_>>, Unreadable> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let unreadable = |what| Unreadable { number: index + 1, what };
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            families.push(family(declared).map_err(unreadable)?);
        } else if !line.is_empty() && !line.starts_with('#') {
            let family = families.last_mut().ok_or_else(|| unreadable("no type stands before it"))?;
            let sample = sample(family, line).map_err(unreadable)?;
            family.samples.push(sample);
        }
    }
    Ok(families)
}

fn family(declared: &str) -> Result<Family<'_>, &'static str> {
    let (name, kind) = declared.split_once(' ').ok_or("a name and a type are needed")?;
    let kind = match kind {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        _ => return Err("the type is none of counter, gauge and histogram"),
    };
    Ok(Family { name, kind, samples: Vec::new() })
}

fn sample<'a>(family: &Family<'_>, line: &'a str) -> Result<Sample<'a>, &'static str> {
    let suffix = line.strip_prefix(family.name).ok_or("the name is not that of the type before it")?;
    let (suffix, rest) = suffix.split_at(suffix.find(['{', ' ']).ok_or("there is no value")?);
    let sound = match family.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].contains(&suffix),
        Kind::Counter | Kind::Gauge => suffix.is_empty(),
    };
    if !sound {
        return Err("the name is not that of the type before it");
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (Vec::new(), rest),
    };
    let value = rest.strip_prefix(' ').filter(|value| !value.is_empty() && !value.contains(' '));
    Ok(Sample { suffix, labels, value: value.ok_or("there is not exactly one value")? })
}

/// What stands between the braces, and what behind them.
fn labels(mut rest: &str) -> Result<(Labels<'_>, &str), &'static str> {
    let mut labels = Vec::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").ok_or("a label has no value")?;
        let (value, behind) = unquoted(quoted)?;
        labels.push((name, value));
        if let Some(end) = behind.strip_prefix('}') {
            return Ok((labels, end));
        }
        rest = behind.strip_prefix(',').ok_or("a label is followed by neither a comma nor a brace")?;
    }
}

/// Up to the closing quote, and what stands behind it.
fn unquoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match letters.next() {
                Some((_, 'n')) => '\n',
                Some((_, escaped @ ('"' | '\\'))) => escaped,
                _ => return Err("a label's value has an unknown escape"),
            }),
            other => value.push(other),
        }
    }
    Err("a label's value does not end")
}

#[cfg(test)]
mod tests {
    use super::{Kind, families};

    #[test]
    fn lines_are_read_with_their_labels() {
        let text = "# HELP a_total what\n# TYPE a_total counter\na_total 3\na_total{x=\"1\",y=\"a \\\"b\\\" \\\\ \\n}\"} 4\n\n\
            # TYPE b gauge\nb -0.5\n\n# TYPE c histogram\nc_bucket{le=\"+Inf\"} 1\nc_sum 0.5\nc_count 1\n";
        let read = families(text).unwrap();
        let kinds: Vec<_> = read.iter().map(|family| (family.name, family.kind)).collect();
        assert_eq!(kinds, [("a_total", Kind::Counter), ("b", Kind::Gauge), ("c", Kind::Histogram)]);
        assert_eq!((read[0].samples[0].value, read[0].samples[1].value), ("3", "4"));
        assert_eq!(read[0].samples[1].labels, [("x", "1".to_owned()), ("y", "a \"b\" \\ \n}".to_owned())]);
        let suffixes: Vec<_> = read[2].samples.iter().map(|sample| sample.suffix).collect();
        assert_eq!(suffixes, ["_bucket", "_sum", "_count"]);
    }

    #[test]
    fn what_is_not_understood_is_said_with_its_line() {
        for (text, says) in [
            ("a 1", "line 1 of the metrics cannot be read: no type"),
            ("# TYPE a summary", "none of counter"),
            ("# TYPE a gauge\nb 1", "line 2 of the metrics cannot be read: the name is not"),
            ("# TYPE a gauge\na_sum 1", "the name is not"),
            ("# TYPE a histogram\na 1", "the name is not"),
            ("# TYPE a gauge\na", "no value"),
            ("# TYPE a gauge\na 1 1700000000", "exactly one value"),
            ("# TYPE a gauge\na{x=\"1\" 1", "neither a comma"),
            ("# TYPE a gauge\na{x=\"1", "does not end"),
            ("# TYPE a gauge\na{x=\"\\t\"} 1", "unknown escape"),
            ("# TYPE a gauge\na{} 1", "no value"),
        ] {
            let error = families(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
