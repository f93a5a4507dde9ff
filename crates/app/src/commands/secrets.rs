//! `pangaea secrets`: new random secrets for a placement with least rights, in the form that its tools take.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use nkeys::KeyPair;
use pangaea_runtime::topology::PROVISIONER;

use super::ConfigArgs;
use crate::catalogue::Catalogue;
use crate::random;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea secrets | kubectl apply -n pangaea -f -\n  \
    pangaea secrets --format compose > deploy/.secrets.env\n\n\
    Every run makes others. Keep what it prints: a store cannot read what an older sealing key has sealed, and a broker or a\n\
    database that knows other keys lets no module in.")]
pub(crate) struct SecretsArgs {
    #[arg(long, value_enum, default_value_t = Format::Kubernetes)]
    format: Format,
    /// Where the modules find PostgreSQL
    #[arg(long, value_name = "HOST:PORT", default_value = "postgres:5432")]
    postgres: String,
    /// The database's name
    #[arg(long, value_name = "NAME", default_value = "pangaea")]
    database: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Secret documents
    Kubernetes,
    /// Lines NAME=value, for an env file
    Compose,
}

/// What one user needs: a module, or the provisioner.
struct User {
    name: String,
    nats: Nkey,
    password: String,
}

/// A pair of keys of NATS: the server knows the public half only.
struct Nkey {
    public: String,
    seed: String,
}

struct Secrets {
    users: Vec<User>,
    postgres_password: String,
    sealing_key: String,
    /// The part of a database's URL behind the user.
    database: String,
}

/// # Errors
/// When the system has no random source, or standard output is closed.
pub(super) fn run(args: &SecretsArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = ConfigArgs::default().load()?.config;
    let mut names: Vec<String> = catalogue.definitions(&config)?.iter().map(|one| one.name().to_owned()).collect();
    names.push(PROVISIONER.to_owned());
    let secrets = Secrets {
        users: names.into_iter().map(User::new).collect::<Result<_>>()?,
        postgres_password: password()?,
        sealing_key: STANDARD.encode(random::bytes::<32>()?),
        database: format!("{}/{}", args.postgres, args.database),
    };
    let text = match args.format {
        Format::Kubernetes => secrets.kubernetes(),
        Format::Compose => secrets.compose(),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Hexadecimal digits, which need no escape in a URL.
fn password() -> Result<String> {
    random::hex::<24>()
}

// === impl User ===

impl User {
    fn new(name: String) -> Result<Self> {
        let pair = KeyPair::new_from_raw(nkeys::KeyPairType::User, random::bytes()?).context("a new nkey")?;
        let nats = Nkey { public: pair.public_key(), seed: pair.seed().context("the seed of a new nkey")? };
        Ok(Self { name, nats, password: password()? })
    }

    fn database_url(&self, database: &str) -> String {
        format!("postgres://{}:{}@{database}", self.name, self.password)
    }

    fn variable(&self, what: &str) -> String {
        format!("{what}_{}", self.name.to_uppercase())
    }
}

// === impl Secrets ===

impl Secrets {
    fn kubernetes(&self) -> String {
        let mut text = String::new();
        let mut secret = |name: &str, fields: Vec<(String, &str)>| {
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  labels:\n    app.kubernetes.io/part-of: \
                 pangaea\ntype: Opaque\nstringData:\n"
            );
            for (key, value) in fields {
                let _ = writeln!(text, "  {key}: {value:?}");
            }
        };
        for user in &self.users {
            secret(&format!("nats-{}", user.name), vec![("seed".to_owned(), &user.nats.seed)]);
            let url = user.database_url(&self.database);
            secret(&format!("{}-database", user.name), vec![("url".to_owned(), &url)]);
        }
        secret("nats-users", self.users.iter().map(|user| (user.variable("NATS_NKEY"), &*user.nats.public)).collect());
        let mut passwords = vec![("postgres".to_owned(), &*self.postgres_password)];
        passwords.extend(self.users.iter().map(|user| (user.name.clone(), &*user.password)));
        secret("postgres-passwords", passwords);
        secret("user-sealing", vec![("key".to_owned(), &self.sealing_key)]);
        text
    }

    fn compose(&self) -> String {
        let mut lines = vec![
            format!("POSTGRES_PASSWORD={}", self.postgres_password),
            format!("USER_SEALING_KEY={}", self.sealing_key),
        ];
        for user in &self.users {
            lines.push(format!("{}={}", user.variable("NATS_NKEY"), user.nats.public));
            lines.push(format!("{}={}", user.variable("NATS_SEED"), user.nats.seed));
            lines.push(format!("{}={}", user.variable("POSTGRES_PASSWORD"), user.password));
            lines.push(format!("{}={}", user.variable("DATABASE_URL"), user.database_url(&self.database)));
        }
        lines.join("\n") + "\n"
    }
}
