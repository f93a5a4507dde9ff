//! `pangaea import online-retail FILE`: the catalogue and opening stock that the file's invoices need.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::StoreArgs;
use super::answer::Replay;
use super::api::{self, BulkResult};
use super::classify::{Decision, fold_code};
use super::client::Client;
use super::csv::Line;
use super::money::grouped;
use super::progress::Progress;
use super::source::{self, ContentHash};

/// Products per request; the store takes at most 200.
const CHUNK_PRODUCTS: usize = 100;
/// Refused products named one by one; the others are only counted.
const REFUSALS_SHOWN: usize = 20;
/// A code that the file only writes off has no price there. Its stock ends at zero, so it is never sold at this one;
/// a price of nothing would be an invitation should stock ever be added.
const UNKNOWN_PRICE_PENCE: i64 = 1;
const NAME_CHARS_MAX: usize = 200;

/// Builds the catalogue from an Online Retail invoice file
///
/// One product for each stock code that is five digits and letters (codes that differ only in case are one), named after
/// its most frequent description, at the price of its first sale. The opening stock is the units that leave it in the
/// file, so that placing the file's invoices uses it up.
#[derive(clap::Args, Clone)]
#[command(after_help = "Examples:\n  \
    pangaea import online-retail online-retail-2010-12.csv\n  \
    pangaea import online-retail online-retail-2010-12.csv --url http://127.0.0.1:8080 --email staff@shop.example --password ...\n\n\
    Importing the same file again changes nothing: the idempotency keys derive from its content.\n\
    Bad rows are reported with their line and left out.")]
pub(crate) struct ImportArgs {
    /// CSV file: InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// A product to be, gathered over the whole file.
#[derive(Debug, Default)]
pub(super) struct Item {
    first_price_pence: Option<i64>,
    /// Units that leave the stock in the file.
    pub(super) units: i64,
    sold_as: Descriptions,
    written_off_as: Descriptions,
}

/// Descriptions with the number of lines and the order in which they came.
#[derive(Debug, Default)]
struct Descriptions(HashMap<String, (u64, usize)>);

/// Sends the catalogue; prints how many products there are.
///
/// # Errors
/// The file cannot be read or has no product, the store cannot be reached, or it refuses a product; those are listed.
pub(crate) async fn run(args: ImportArgs) -> Result<()> {
    let file = args.file.clone();
    let (hash, items) =
        tokio::task::spawn_blocking(move || -> Result<_> { Ok((ContentHash::of(&file)?, gather(&file)?)) })
            .await
            .context("reading the file failed")??;
    if items.is_empty() {
        bail!("{} has no sale and no adjustment of a product: there is nothing to import", args.file.display());
    }
    let client = Client::sign_in(&args.store, 1).await?;
    let replays = send(&client, hash, &items).await?;
    let units: i64 = items.values().map(|item| item.units).sum();
    println!(
        "{} products with {} units of opening stock{}",
        grouped(&items.len().to_string()),
        grouped(&units.to_string()),
        if replays > 0 { "; at least a part had been imported before and is unchanged" } else { "" },
    );
    Ok(())
}

/// One item for each folded code whose units leave the stock; sorted, so that chunks are the same at every run.
///
/// # Errors
/// As [`source::read`].
pub(super) fn gather(file: &Path) -> Result<BTreeMap<String, Item>> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    source::read(file, |line, decision| match decision {
        Decision::Sale { units, unit_price_pence, .. } => {
            items.entry(fold_code(&line.code)).or_default().add_sale(line, *units, *unit_price_pence);
        }
        Decision::Adjustment { units } => {
            items.entry(fold_code(&line.code)).or_default().add_adjustment(line, *units);
        }
        Decision::Refund { .. } | Decision::Rejected(_) => {}
    })?;
    Ok(items)
}

/// Sends all chunks in turn and answers how many of them the store had taken before.
async fn send(client: &Client, hash: ContentHash, items: &BTreeMap<String, Item>) -> Result<usize> {
    let items: Vec<_> = items.iter().collect();
    let mut progress = Progress::new("products", items.len() as u64);
    let (mut refused, mut replays) = (0_usize, 0);
    for (number, chunk) in items.chunks(CHUNK_PRODUCTS).enumerate() {
        let products: Vec<Value> = chunk.iter().map(|(code, item)| item.product(code)).collect();
        let key = hash.key(&["import", &CHUNK_PRODUCTS.to_string(), &number.to_string()]);
        let answer = client.post("/v1/products/bulk", &key, &json!({ "products": products })).await;
        let answer = answer.with_context(|| format!("products {number} × {CHUNK_PRODUCTS} and on were not taken"))?;
        replays += usize::from(answer.replay == Replay::EarlierRun);
        let results: Vec<BulkResult> = api::parse(Value::Array(api::items(answer.body)?))?;
        if results.len() != chunk.len() {
            bail!("the store answered for {} products of {} sent", results.len(), chunk.len());
        }
        for (result, error) in results.iter().filter_map(|result| Some((result, result.error.as_ref()?))) {
            refused += 1;
            if refused <= REFUSALS_SHOWN {
                let code = chunk.get(result.index).map_or("?", |(code, _)| code.as_str());
                progress.note(&format!("{code} was refused: {error}"));
            }
        }
        progress.advance(chunk.len() as u64);
    }
    progress.finish();
    if refused > 0 {
        bail!(
            "the store refused {refused} of {} products; import into an empty store, or solve what is listed above",
            items.len()
        );
    }
    Ok(replays)
}

// === impl Item ===

impl Item {
    fn add_sale(&mut self, line: &Line, units: i64, unit_price_pence: i64) {
        self.first_price_pence.get_or_insert(unit_price_pence);
        self.units += units;
        self.sold_as.add(&line.description);
    }

    fn add_adjustment(&mut self, line: &Line, units: i64) {
        self.units += units;
        self.written_off_as.add(&line.description);
    }

    /// The product as the API wants it. What is written off carries remarks such as "damaged" for a description, so
    /// those name a product only when it was never sold.
    fn product(&self, code: &str) -> Value {
        let name = self.sold_as.most_frequent().or_else(|| self.written_off_as.most_frequent());
        let name: String = name.unwrap_or(code).chars().take(NAME_CHARS_MAX).collect();
        json!({
            "name": name,
            "description": format!("Stock code {code}, from an Online Retail invoice file."),
            "categories": ["online-retail"],
            "variants": [{
                "code": code,
                "options": {},
                "price": api::money(self.first_price_pence.unwrap_or(UNKNOWN_PRICE_PENCE)),
                "stock": self.units,
            }],
        })
    }
}

// === impl Descriptions ===

impl Descriptions {
    fn add(&mut self, description: &str) {
        if description.is_empty() {
            return;
        }
        let next = self.0.len();
        self.0.entry(description.to_owned()).or_insert((0, next)).0 += 1;
    }

    /// Of equally frequent ones the first, so that a rerun sends the same body under the same key.
    fn most_frequent(&self) -> Option<&str> {
        let best = self.0.iter().max_by_key(|(_, (count, place))| (*count, std::cmp::Reverse(*place)));
        best.map(|(description, _)| description.as_str())
    }
}
