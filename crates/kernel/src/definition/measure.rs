//! What a module measures of its own, beside what the runtime measures of every module.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pangaea_journal::{Database, JournalError};

use super::Definition;

/// Series of one metric, at most: each is kept by every process, scraped and stored for good.
const VALUES_MAX: usize = 32;
const BUCKETS_MAX: usize = 24;
/// Labels that the runtime, the text format or Prometheus itself sets.
const LABELS_TAKEN: [&str; 9] =
    ["module", "le", "quantile", "job", "instance", "namespace", "pod", "container", "endpoint"];
/// What a name may not end with: the unit is added, and the rest is the text format's.
const ENDS_TAKEN: [&str; 5] = ["_seconds", "_bucket", "_sum", "_count", "_total"];

/// What handlers observe, in buckets: `pangaea_<name>[_seconds]{module, <label>}`. A handler tells it by
/// [`Cx::observe`](crate::Cx::observe); what it told counts once its input is committed, and never again.
///
/// ```
/// # use pangaea_kernel::{Definition, Histogram, Unit};
/// const WAIT: Histogram = Histogram {
///     name: "order_wait",
///     unit: Unit::Seconds,
///     label: "outcome",
///     values: &["confirmed", "cancelled"],
///     buckets: &[1.0, 10.0, 60.0],
/// };
/// let definition = Definition::new("order").histogram(&WAIT);
/// assert!(definition.faults().is_empty());
/// assert_eq!(WAIT.full_name(), "pangaea_order_wait_seconds");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram {
    /// Begins with the module's name; without `pangaea_` and the unit.
    pub name: &'static str,
    pub unit: Unit,
    /// The one label beside `module`.
    pub label: &'static str,
    /// All values that the label may have, so that no input can make up a series.
    pub values: &'static [&'static str],
    /// Upper bounds, ascending, in the unit; those that an objective asks about among them.
    pub buckets: &'static [f64],
}

/// What stands in the module's tables, read now and then: `pangaea_<name>[_seconds]{module, <label>}`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauge {
    /// Begins with the module's name; without `pangaea_` and the unit.
    pub name: &'static str,
    pub unit: Unit,
    /// The one label beside `module`.
    pub label: &'static str,
    /// All values that the label may have. One of which nothing is read is 0.
    pub values: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The name gets the end `_seconds`.
    Seconds,
    /// Of what the name says, e.g. orders.
    Count,
}

/// A [`Gauge`], and how it is read.
#[derive(Clone)]
pub struct ReadGauge {
    pub gauge: &'static Gauge,
    read: Arc<dyn for<'a> ReadNumbers<'a>>,
}

/// An `async fn(&Database) -> Result<Vec<(String, i64)>, JournalError>`: values of the label, each with its number.
pub trait ReadNumbers<'a>: Send + Sync + 'static {
    fn read(&self, database: &'a Database) -> BoxFuture<'a, Result<Vec<(String, i64)>, JournalError>>;
}

impl<'a, F, Fut> ReadNumbers<'a> for F
where
    F: Fn(&'a Database) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<(String, i64)>, JournalError>> + Send + 'a,
{
    fn read(&self, database: &'a Database) -> BoxFuture<'a, Result<Vec<(String, i64)>, JournalError>> {
        Box::pin(self(database))
    }
}

/// Something that a handler has observed. It has happened once its input is committed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The place of its histogram among those that the module declares.
    pub histogram: usize,
    /// The place of the label's value among those that the histogram declares.
    pub value: usize,
    /// In the histogram's unit.
    pub measured: f64,
}

// === impl Histogram, Gauge and Unit ===

impl Histogram {
    /// As Prometheus knows it.
    pub fn full_name(&self) -> String {
        full_name(self.name, self.unit)
    }
}

impl Gauge {
    /// As Prometheus knows it.
    pub fn full_name(&self) -> String {
        full_name(self.name, self.unit)
    }
}

fn full_name(name: &str, unit: Unit) -> String {
    let end = match unit {
        Unit::Seconds => "_seconds",
        Unit::Count => "",
    };
    format!("pangaea_{name}{end}")
}

// === impl ReadGauge ===

impl ReadGauge {
    /// The number of each of the gauge's values, in their order; 0 of one that was not read.
    ///
    /// # Errors
    /// When the database cannot be read, or gives a value that is not declared.
    pub async fn numbers(&self, database: &Database) -> Result<Vec<(&'static str, i64)>, JournalError> {
        let (read, Gauge { name, values, .. }) = (self.read.read(database).await?, self.gauge);
        if let Some((other, _)) = read.iter().find(|(value, _)| !values.contains(&value.as_str())) {
            return Err(JournalError::Decode(format!("{other:?} is not a value that {name} declares")));
        }
        let number = |value: &str| read.iter().filter(|(known, _)| known == value).map(|(_, number)| number).sum();
        Ok(values.iter().map(|value| (*value, number(value))).collect())
    }
}

// === impl Definition: metrics ===

impl Definition {
    /// A metric that this module's handlers observe.
    #[must_use]
    pub fn histogram(mut self, histogram: &'static Histogram) -> Self {
        let Histogram { name, label, values, buckets, .. } = *histogram;
        self.expect_metric(name, label, values);
        let ascends = buckets.is_sorted_by(|bound, next| bound < next) && buckets.iter().all(|bound| bound.is_finite());
        if buckets.is_empty() || buckets.len() > BUCKETS_MAX || !ascends {
            self.fault_of(name, &format!("has no buckets, more than {BUCKETS_MAX}, or some that do not ascend"));
        }
        self.histograms.push(histogram);
        self
    }

    /// A metric that is read from this module's tables, and an `async fn(&Database)` that reads it. It reads what is committed and
    /// writes nothing. The runtime asks where the module is led, when somebody looks, and seldom: never more than a small part of
    /// the time is spent on it, however long it takes. An index should answer it all the same.
    #[must_use]
    pub fn gauge(mut self, gauge: &'static Gauge, read: impl for<'a> ReadNumbers<'a>) -> Self {
        let Gauge { name, label, values, .. } = *gauge;
        self.expect_metric(name, label, values);
        self.gauges.push(ReadGauge { gauge, read: Arc::new(read) });
        self
    }

    /// In the order in which they are declared.
    pub fn histograms(&self) -> &[&'static Histogram] {
        &self.histograms
    }

    /// In the order in which they are declared.
    pub fn gauges(&self) -> &[ReadGauge] {
        &self.gauges
    }

    /// What `measured` is in terms of what this module declares.
    pub(crate) fn observation(&self, histogram: &Histogram, value: &str, measured: f64) -> Result<Observation, String> {
        let (module, name) = (self.name, histogram.name);
        let place = self.histograms.iter().position(|known| known.name == name);
        let place = place.ok_or_else(|| format!("{name} is not a histogram that {module} declares"))?;
        let value = histogram.values.iter().position(|known| *known == value).ok_or_else(|| {
            format!("{value:?} is not a value that {module} declares for {} of {name}", histogram.label)
        })?;
        if !measured.is_finite() {
            return Err(format!("{measured} cannot be observed as {name}"));
        }
        Ok(Observation { histogram: place, value, measured })
    }

    fn expect_metric(&mut self, name: &'static str, label: &str, values: &[&str]) {
        let is_known = self.histograms.iter().any(|known| known.name == name)
            || self.gauges.iter().any(|known| known.gauge.name == name);
        if is_known {
            self.fault_of(name, "is declared twice");
        }
        if !is_word(name) || !name.starts_with(self.name) {
            self.fault_of(name, "is not lower-case letters, digits and _ that begin with the module's name");
        }
        if let Some(end) = ENDS_TAKEN.iter().find(|end| name.ends_with(**end)) {
            self.fault_of(name, &format!("ends with {end}, which is not for a module to say"));
        }
        if !is_word(label) || LABELS_TAKEN.contains(&label) {
            self.fault_of(
                name,
                &format!("has the label {label:?}, which is taken, or not lower-case letters, digits and _"),
            );
        }
        let different: BTreeSet<_> = values.iter().collect();
        if values.is_empty() || values.len() > VALUES_MAX || different.len() < values.len() {
            self.fault_of(name, &format!("has no values for {label}, more than {VALUES_MAX}, or one twice"));
        }
    }

    fn fault_of(&mut self, metric: &str, fault: &str) {
        self.faults.push(format!("{}'s metric {metric:?} {fault}", self.name));
    }
}

fn is_word(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase()) && text.bytes().all(sound)
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
