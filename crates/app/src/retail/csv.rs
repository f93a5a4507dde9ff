//! Streaming reader of the invoice file: one line at a time, and a bad row never stops the rest.

use std::io::Read;

use anyhow::{Context, Result, bail};

use super::money::Price;

const COLUMNS: [&str; 6] = ["InvoiceNo", "StockCode", "Description", "Quantity", "UnitPrice", "CustomerID"];
const QUANTITY_DIGITS_MAX: usize = 9;

/// One line of an invoice, as the file has it; texts are trimmed.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Line of the file on which the record begins; the header is line 1.
    pub(crate) number: u64,
    pub(crate) invoice: String,
    pub(crate) code: String,
    /// May be empty.
    pub(crate) description: String,
    /// Units; negative for cancellations and stock that went missing.
    pub(crate) quantity: i64,
    pub(crate) price: Price,
    pub(crate) customer: Option<String>,
}

/// A row that cannot be understood.
#[derive(Debug)]
pub(crate) struct BadRow {
    pub(crate) number: u64,
    pub(crate) reason: String,
}

/// Yields each record of the file in order. Columns are found by name, so their order and further columns do not matter.
pub(crate) struct Lines<R> {
    reader: ::csv::Reader<R>,
    record: ::csv::ByteRecord,
    places: [usize; COLUMNS.len()],
    width: usize,
    /// Lines by which the reader is past a record once it has read it: it stops between `\r` and `\n`.
    end_offset: u64,
    /// Set after an error of the input itself, which would repeat without end.
    ended: bool,
}

// === impl Lines ===

impl<R: Read> Lines<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The input cannot be read or its header lacks a column; the message names those missing.
    pub(crate) fn new(input: R) -> Result<Self> {
        let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(input);
        let header = reader.byte_headers().context("the header cannot be read")?;
        let names: Vec<String> = header.iter().map(text).collect();
        let missing: Vec<&str> =
            COLUMNS.into_iter().filter(|column| !names.iter().any(|name| name == column)).collect();
        if !missing.is_empty() {
            bail!(
                "the header lacks {}; the first line must name the columns {} (found: {})",
                missing.join(", "),
                COLUMNS.join(", "),
                if names.is_empty() { "nothing".to_owned() } else { names.join(", ") },
            );
        }
        let places = COLUMNS.map(|column| names.iter().position(|name| name == column).unwrap_or_default());
        let end_offset = u64::from(reader.position().line() > 1);
        let record = ::csv::ByteRecord::new();
        Ok(Self { reader, record, places, width: names.len(), end_offset, ended: false })
    }

    fn line(&self, number: u64) -> Result<Line, BadRow> {
        let bad = |reason: String| BadRow { number, reason };
        if self.record.len() != self.width {
            return Err(bad(format!("{} fields where the header has {}", self.record.len(), self.width)));
        }
        // Bytes that are not UTF-8 are shown as replacement characters: a broken description is no reason to lose a sale.
        let [invoice, code, description, quantity, price, customer] =
            self.places.map(|place| self.record.get(place).map(text).unwrap_or_default());
        if invoice.is_empty() {
            return Err(bad("InvoiceNo is empty".to_owned()));
        }
        let quantity = parse_quantity(&quantity).map_err(bad)?;
        let price = Price::parse(&price).map_err(bad)?;
        let customer = (!customer.is_empty()).then_some(customer);
        Ok(Line { number, invoice, code, description, quantity, price, customer })
    }

    /// The position of a record is that before any blank lines above it, so the line is counted back from the record's
    /// end; where the file ends without a line end, the position is right and the greater of the two.
    fn number(&self) -> u64 {
        let breaks_inside: usize =
            self.record.iter().map(|field| field.iter().filter(|byte| **byte == b'\n').count()).sum();
        let counted_back = self.reader.position().line().saturating_sub(self.end_offset + breaks_inside as u64);
        counted_back.max(self.record.position().map_or(0, ::csv::Position::line))
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<Line, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => Some(self.line(self.number())),
            Err(error) => {
                self.ended = true;
                Some(Err(BadRow { number: self.reader.position().line(), reason: error.to_string() }))
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn parse_quantity(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number =
        !digits.is_empty() && digits.len() <= QUANTITY_DIGITS_MAX && digits.bytes().all(|byte| byte.is_ascii_digit());
    let quantity = if is_number { text.parse().ok() } else { None };
    quantity.ok_or_else(|| format!("Quantity {text:?} is not a whole number of at most {QUANTITY_DIGITS_MAX} digits"))
}
