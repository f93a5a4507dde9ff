//! Which series an expression of PromQL asks for: names and matchers, read without the rest of the grammar.
//!
//! promtool has judged the grammar of rules. Here an unknown word is taken for a metric, so that a slip is a finding and not
//! overlooked.

/// One selector: `name{label="value", …}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selector {
    pub(crate) name: String,
    pub(crate) matchers: Vec<Matcher>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    /// `=`, `!=`, `=~` or `!~`.
    pub(crate) operator: String,
    pub(crate) value: String,
}

const WORDS: [&str; 10] = ["and", "or", "unless", "bool", "offset", "inf", "nan", "atan2", "start", "end"];
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const AGGREGATORS: [&str; 12] =
    ["sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values"];

/// The selectors of an expression, or of a dashboard's `label_values(…)`.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    let expression = match expression.strip_prefix("label_values(") {
        Some(rest) => rest.rsplit_once(',').map_or(rest, |(selector, _)| selector),
        None => expression,
    };
    let mut reader = Reader { text: expression.chars().collect(), at: 0 };
    let mut found: Vec<Selector> = Vec::new();
    while let Some(letter) = reader.peek() {
        match letter {
            '"' | '\'' | '`' => drop(reader.string()),
            '[' => reader.skip_past(']'),
            '#' => reader.skip_past('\n'),
            '$' => {
                reader.at += 1;
                reader.word();
            }
            '{' => {
                let matchers = reader.matchers();
                if let Some(last) = found.last_mut() {
                    last.matchers = matchers;
                }
            }
            letter if letter.is_ascii_digit() => drop(reader.word()),
            letter if is_of_name(letter) => {
                let word = reader.word();
                reader.skip_spaces();
                if GROUPINGS.contains(&word.as_str()) {
                    if reader.peek() == Some('(') {
                        reader.skip_past(')');
                    }
                } else if reader.peek() != Some('(') && !is_known(&word) {
                    found.push(Selector { name: word, matchers: Vec::new() });
                }
            }
            _ => reader.at += 1,
        }
    }
    found
}

fn is_known(word: &str) -> bool {
    WORDS.contains(&word) || AGGREGATORS.contains(&word)
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':' || letter == '.'
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

// === impl Reader ===

impl Reader {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn word(&mut self) -> String {
        let from = self.at;
        while self.peek().is_some_and(is_of_name) {
            self.at += 1;
        }
        self.text[from..self.at].iter().collect()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn skip_past(&mut self, end: char) {
        while let Some(letter) = self.peek() {
            self.at += 1;
            if letter == end {
                return;
            }
        }
    }

    /// A quoted text, without its quotes.
    fn string(&mut self) -> String {
        let quote = self.peek();
        self.at += 1;
        let mut text = String::new();
        while let Some(letter) = self.peek() {
            self.at += 1;
            if Some(letter) == quote {
                break;
            }
            if letter == '\\'
                && let Some(escaped) = self.peek()
            {
                self.at += 1;
                text.push(escaped);
            } else {
                text.push(letter);
            }
        }
        text
    }

    fn matchers(&mut self) -> Vec<Matcher> {
        let mut matchers = Vec::new();
        self.at += 1;
        while let Some(letter) = self.peek() {
            match letter {
                '}' => {
                    self.at += 1;
                    break;
                }
                letter if is_of_name(letter) => {
                    let label = self.word();
                    self.skip_spaces();
                    let mut operator = String::new();
                    while let Some(sign @ ('=' | '!' | '~')) = self.peek() {
                        operator.push(sign);
                        self.at += 1;
                    }
                    self.skip_spaces();
                    matchers.push(Matcher { label, operator, value: self.string() });
                }
                _ => self.at += 1,
            }
        }
        matchers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(expression: &str) -> Vec<String> {
        let shown = |selector: Selector| {
            let matchers = selector.matchers.iter().map(|m| format!("{}{}{}", m.label, m.operator, m.value));
            format!("{} {}", selector.name, matchers.collect::<Vec<_>>().join(","))
        };
        selectors(expression).into_iter().map(|selector| shown(selector).trim().to_owned()).collect()
    }

    #[test]
    fn finds_metrics_and_nothing_else() {
        let cases: [(&str, &[&str]); 8] = [
            ("up", &["up"]),
            (
                r#"sum by (a, b) (rate(x_total{c="d}", e=~"f|g"}[5m] offset 2m)) / on (a) group_left (h) y > bool 1e3"#,
                &["x_total c=d},e=~f|g", "y"],
            ),
            ("max(x and on (instance, module) y == 1) or vector(0)", &["x", "y"]),
            ("histogram_quantile(0.99, sum(a:b:rate5m) by (le))", &["a:b:rate5m"]),
            (r#"label_replace(x{a!="b"}, "module", "$1", "r", "(.*)") unless ignoring (w) z"#, &["x a!=b", "z"]),
            ("label_values(x{a=\"$n\"}, namespace)", &["x a=$n"]),
            ("# a comment with words\nx[$__rate_interval] * 2.5", &["x"]),
            ("count(last_over_time(x[1d])) unless on (n) (y > 0)", &["x", "y"]),
        ];
        for (expression, metrics) in cases {
            assert_eq!(shown(expression), metrics, "{expression}");
        }
    }
}
