use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};
use pangaea_contracts::SkuId;
use pangaea_contracts::product::{CreateProducts, NewProduct, NewVariant};
use pangaea_journal::{Database, Statement};

use crate::clients::{Asks, STOCK, command, new_key, pence, staff};
use crate::host::{CODE_VERSION, options};
use crate::world::{START_MS, World};

/// A store with its tables made, its catalogue known to every module, and nothing sold: each run begins with a copy.
pub(crate) struct Template(Folder);

/// A folder that goes with its last user.
pub(crate) struct Folder(PathBuf);

// === impl Template ===

impl Template {
    /// # Errors
    /// When the databases cannot be made.
    pub(crate) async fn make() -> Result<Self> {
        let folder = Folder::create()?;
        let mut world = World::new(folder.path(), 0, false, None);
        for host in &world.hosts {
            // A log's name is random, and stands in cursors and dead letters: here it is the same in every run.
            let database = Database::open(host.name, &options(folder.path())).await?;
            let mut writer = database.writer(host.definition.all_migrations(), CODE_VERSION).await?;
            writer.begin().await?;
            let name = Statement::new("UPDATE head SET log_id = ?").bind(format!("log_of_{}", host.name));
            writer.sql(name).await?;
            writer.commit().await?;
            writer.stop().await?;
            database.close().await;
        }
        let key = command("user", pangaea_contracts::Actor::system(), "first-key", &new_key(0, START_MS), Asks::Key);
        let catalogue = command("product", staff(), "catalogue", &catalogue(), Asks::Price);
        world.clients.requests.extend(key.into_iter().chain(catalogue));
        world.come_to_rest().await.map_err(|reason| anyhow!(reason))?;
        for host in &mut world.hosts {
            host.stop().await?;
        }
        Ok(Self(folder))
    }

    /// A folder with a copy of the databases.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(crate) fn copy(&self) -> Result<Folder> {
        let folder = Folder::create()?;
        self.0.copy_databases(folder.path())?;
        Ok(folder)
    }
}

fn catalogue() -> CreateProducts {
    let product = |(code, stock): &(&str, i64)| NewProduct {
        name: format!("Thing {code}"),
        description: String::new(),
        categories: Vec::new(),
        variants: vec![NewVariant {
            code: (*code).to_owned(),
            options: Default::default(),
            price: pence(250),
            stock: *stock,
        }],
        picture: None,
    };
    CreateProducts {
        sku_id: SkuId::from_code(STOCK[0].0),
        products: STOCK.iter().map(product).collect(),
        only_if_empty: false,
    }
}

// === impl Folder ===

impl Folder {
    fn create() -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pangaea-sim-{}-{number}", std::process::id());
        // Memory is enough: no power fails here.
        let shared_memory = Path::new("/dev/shm").join(&name);
        let path = match std::fs::create_dir(&shared_memory) {
            Ok(()) => shared_memory,
            Err(_) => {
                let path = std::env::temp_dir().join(&name);
                std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
                path
            }
        };
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Copies the databases, which nobody may have open.
    pub(crate) fn copy_databases(&self, to: &Path) -> Result<()> {
        for module in ["product", "order", "payment", "user"] {
            let file = format!("{module}.db");
            let from = self.0.join(&file);
            std::fs::copy(&from, to.join(&file)).with_context(|| from.display().to_string())?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is named after this process, and harmless.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
