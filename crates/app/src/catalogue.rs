//! The catalogue: which modules a program has. Adding one is a line: in [`Catalogue::build`], or [`Catalogue::and`] outside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use pangaea_kernel::{Definition, Module};
use pangaea_payment::{HttpProvider, ProviderTimeouts};
use pangaea_runtime::config::Config;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::provider::Provider;

/// What the catalogue needs that is not in the configuration itself.
pub(crate) struct Outside {
    /// Where the payment provider is: configured, or the embedded simulator.
    pub(crate) provider_url: String,
    /// Whether files may be made, e.g. a sealing key; offline commands make none.
    pub(crate) may_write: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductOptions {
    demo_catalogue: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserOptions {
    demo_accounts: bool,
    #[serde(default)]
    sealing_key: String,
    sealing_key_file: PathBuf,
    #[serde(default)]
    first_admin_email: String,
    #[serde(default)]
    first_admin_password: String,
}

/// Which modules a program has: the store's four, and those that it adds, each by one line.
#[derive(Default)]
pub struct Catalogue {
    more: Vec<Make>,
}

type Make = Box<dyn Fn(&Config) -> Result<Arc<dyn Module>> + Send + Sync>;

/// Every module of a program, and the one that the command line itself speaks to.
pub(crate) struct Modules {
    pub(crate) all: Vec<Arc<dyn Module>>,
    pub(crate) user: Arc<pangaea_user::User>,
}

// === impl Catalogue ===

impl Catalogue {
    /// The store: product, order, payment and user.
    pub fn store() -> Self {
        Self::default()
    }

    /// One module more. `make` is called by every command that needs the modules, also by those that work offline, so it
    /// opens nothing; its options come from [`options`].
    #[must_use]
    pub fn and<M: Module>(mut self, make: impl Fn(&Config) -> Result<M> + Send + Sync + 'static) -> Self {
        self.more.push(Box::new(move |config| Ok(Arc::new(make(config)?) as Arc<dyn Module>)));
        self
    }

    /// Builds every module from its options.
    ///
    /// # Errors
    /// When a module's options are wrong, its key cannot be read, or two have one name: they would share a database.
    pub(crate) fn build(&self, config: &Config, outside: &Outside) -> Result<Modules> {
        let product: ProductOptions = options(config, "product")?;
        let provider = HttpProvider::new(&outside.provider_url, ProviderTimeouts::default())
            .context("modules.payment.options.provider.url")?;
        let user = Arc::new(pangaea_user::User::new(user_config(config, outside)?));
        let mut all: Vec<Arc<dyn Module>> = vec![
            Arc::new(pangaea_product::Product::new().with_demo(product.demo_catalogue)),
            Arc::new(pangaea_order::Order::new()),
            Arc::new(pangaea_payment::Payment::new(Arc::new(provider))),
            user.clone(),
        ];
        for make in &self.more {
            all.push(make(config)?);
        }
        let mut names = BTreeSet::new();
        for module in &all {
            let definition = module.define();
            ensure!(names.insert(definition.name()), "the catalogue has two modules named {}", definition.name());
        }
        Ok(Modules { all, user })
    }

    /// Every module, for a command that works offline: nobody is called, and no file is made.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub(crate) fn offline(&self, config: &Config) -> Result<Vec<Arc<dyn Module>>> {
        Ok(self.build(config, &Outside { provider_url: Provider::nowhere().url, may_write: false })?.all)
    }

    /// What every module declares, in the catalogue's order.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub(crate) fn definitions(&self, config: &Config) -> Result<Vec<Arc<Definition>>> {
        Ok(definitions_of(&self.offline(config)?))
    }

    /// Those of the modules that `runtime.modules` names.
    ///
    /// # Errors
    /// As [`Self::build`], and when it names a module that is not known.
    pub(crate) fn wanted(&self, config: &Config) -> Result<Vec<Arc<Definition>>> {
        wanted(config, &self.definitions(config)?)
    }

    /// What the module of this name declares.
    ///
    /// # Errors
    /// As [`Self::build`], and when there is no such module.
    pub(crate) fn definition(&self, module: &str, config: &Config) -> Result<Arc<Definition>> {
        let definitions = self.definitions(config)?;
        let names = names_of(&definitions);
        let found = definitions.into_iter().find(|one| one.name() == module);
        found.with_context(|| format!("there is no module {module:?}; this program has {names}"))
    }
}

/// What each of these declares, in their order.
pub(crate) fn definitions_of(modules: &[Arc<dyn Module>]) -> Vec<Arc<Definition>> {
    modules.iter().map(|module| Arc::new(module.define())).collect()
}

/// Those of these that `runtime.modules` names, in their order.
///
/// # Errors
/// When it names another one.
pub(crate) fn wanted(config: &Config, definitions: &[Arc<Definition>]) -> Result<Vec<Arc<Definition>>> {
    let named = &config.runtime.modules;
    let is_known = |name: &str| name == "*" || definitions.iter().any(|one| one.name() == name);
    if let Some(unknown) = named.iter().find(|name| !is_known(name)) {
        bail!("runtime.modules names {unknown:?}; this program has {}", names_of(definitions));
    }
    let is_wanted = |module: &str| named.is_empty() || named.iter().any(|name| name == "*" || name == module);
    Ok(definitions.iter().filter(|one| is_wanted(one.name())).cloned().collect())
}

fn names_of(definitions: &[Arc<Definition>]) -> String {
    definitions.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")
}

/// The options of a module, `[modules.<name>.options]`, as a type of its own.
///
/// # Errors
/// When they are not of this type; the error names the key.
pub fn options<T: DeserializeOwned>(config: &Config, module: &str) -> Result<T> {
    let options = config.modules.get(module).map(|module| module.options.clone()).unwrap_or_default();
    serde_json::from_value(options).with_context(|| format!("modules.{module}.options"))
}

fn user_config(config: &Config, outside: &Outside) -> Result<pangaea_user::UserConfig> {
    let options: UserOptions = options(config, "user")?;
    let hosted =
        config.runtime.modules.is_empty() || config.runtime.modules.iter().any(|name| name == "*" || name == "user");
    let sealing_key = match (options.sealing_key.as_str(), outside.may_write && hosted) {
        ("", true) => key_file(&options.sealing_key_file)?,
        ("", false) => [0; 32],
        (text, _) => parse_key(text).context("modules.user.options.sealing_key")?,
    };
    let first_admin =
        (!options.first_admin_email.is_empty()).then_some((options.first_admin_email, options.first_admin_password));
    Ok(pangaea_user::UserConfig { sealing_key, first_admin, demo_accounts: options.demo_accounts })
}

/// The key that seals private keys and personal data; made on the first start of a store without one.
fn key_file(path: &Path) -> Result<[u8; 32]> {
    if let Ok(text) = std::fs::read_to_string(path) {
        return parse_key(text.trim())
            .with_context(|| format!("{} (modules.user.options.sealing_key_file)", path.display()));
    }
    let key = crate::random::bytes()?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    if make_private(path, &base64::engine::general_purpose::STANDARD.encode(key))? { Ok(key) } else { key_file(path) }
}

/// Makes the file whole or not at all, because replicas that start at once read it meanwhile. `false` where another has
/// made it first.
fn make_private(path: &Path, text: &str) -> Result<bool> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    write_private(&draft, text)?;
    let linked = std::fs::hard_link(&draft, path);
    let _ = std::fs::remove_file(&draft);
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).with_context(|| path.display().to_string())?;
    writeln!(file, "{text}").with_context(|| path.display().to_string())
}

fn parse_key(text: &str) -> Result<[u8; 32]> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).context("not base64")?;
    bytes.try_into().map_err(|_| anyhow::anyhow!("a sealing key is 32 bytes, in base64"))
}
