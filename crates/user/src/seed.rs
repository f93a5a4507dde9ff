//! What is made at the start, and what the command line makes.

use std::time::Duration;

use axum::http::Method;
use pangaea_contracts::{Actor, Role, UserId};
use pangaea_kernel::http::{Edge, Intent};
use pangaea_kernel::{Problem, ProblemKind};

use crate::accounts::{NewAccount, Shared, problem_of};
use crate::domain::Email;
use crate::handlers::AccountFacts;
use crate::store;

/// An account with a public password, for trying the store out.
#[derive(Clone, Copy, Debug)]
pub struct DemoAccount {
    pub email: &'static str,
    pub password: &'static str,
    pub name: &'static str,
    pub role: Role,
}

pub const DEMO_CUSTOMER: DemoAccount = DemoAccount {
    email: "customer@demo.pangaea.example",
    password: "demo-customer-password",
    name: "Demo Customer",
    role: Role::Customer,
};

pub const DEMO_STAFF: DemoAccount = DemoAccount {
    email: "staff@demo.pangaea.example",
    password: "demo-staff-password",
    name: "Demo Staff",
    role: Role::Staff,
};

pub const DEMO_ADMIN: DemoAccount = DemoAccount {
    email: "admin@demo.pangaea.example",
    password: "demo-admin-password",
    name: "Demo Admin",
    role: Role::Admin,
};

/// Tries of each thing at the start, while the store is not there yet.
const TRIES_MAX: u32 = 20;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Makes sure of a signing key, and of the accounts that configuration asks for. Where they are there it only reads.
pub(crate) async fn start(
    shared: &Shared,
    edge: &Edge,
    first_admin: Option<&(String, String)>,
    demo_accounts: bool,
) -> Result<(), String> {
    patiently(|| shared.keys.signing_key(edge, &shared.vault)).await.map_err(|problem| {
        format!(
            "there is no signing key: {}; is the sealing key the one that this store was made with?",
            problem.detail
        )
    })?;
    if demo_accounts {
        for demo in [DEMO_CUSTOMER, DEMO_STAFF, DEMO_ADMIN] {
            let make = || create_once(shared, edge, demo.email, demo.password, demo.name, demo.role);
            patiently(make).await.map_err(|problem| format!("the demo account {}: {problem}", demo.email))?;
        }
    }
    if let Some((email, password)) = first_admin {
        let make = || create_once(shared, edge, email, password, "Administrator", Role::Admin);
        patiently(make).await.map_err(|problem| format!("the first administrator: {problem}"))?;
    }
    Ok(())
}

async fn patiently<T, F: Future<Output = Result<T, Problem>>>(mut attempt: impl FnMut() -> F) -> Result<T, Problem> {
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(problem) if problem.retry_after.is_some() && tries < TRIES_MAX => {
                tracing::debug!(%problem, tries, "not yet");
                tries += 1;
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            other => return other,
        }
    }
}

/// The command's id follows from the address, so replicas that start at once make one account.
async fn create_once(
    shared: &Shared,
    edge: &Edge,
    email: &str,
    password: &str,
    name: &str,
    role: Role,
) -> Result<(), Problem> {
    let new = NewAccount::check(email, password.to_owned(), name, vec![role])?;
    let email_hash = shared.vault.email_hash(&new.email);
    // Hashing is slow, so not at every start.
    if store::owner_of_email(edge.database(), &email_hash).await?.is_some() {
        return Ok(());
    }
    let intent = Intent::system("/seed/user", &email_hash);
    let answer = shared.register(edge, &intent, new, role.as_str()).await?;
    // A conflict: somebody has registered with this address in the meantime, so it has its account.
    if answer.is_success() || answer.status == 409 { Ok(()) } else { Err(problem_of(answer)) }
}

pub(crate) async fn create_user(
    shared: &Shared,
    edge: &Edge,
    email: &str,
    password: &str,
    name: &str,
    roles: &[Role],
) -> Result<UserId, Problem> {
    let new = NewAccount::check(email, password.to_owned(), name, roles.to_vec())?;
    let intent = Intent::without_key(Actor::system(), Method::POST, "/command-line/user");
    let answer = shared.register(edge, &intent, new, "create").await?;
    if !answer.is_success() {
        return Err(problem_of(answer));
    }
    let facts: AccountFacts =
        serde_json::from_value(answer.body).map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
    Ok(facts.id)
}

pub(crate) async fn token_of(shared: &Shared, edge: &Edge, email: &str) -> Result<String, Problem> {
    let email = Email::parse(email).map_err(|fault| Problem::invalid("/email", fault))?;
    let owner = store::owner_of_email(edge.database(), &shared.vault.email_hash(&email)).await?;
    let user_id = owner.ok_or_else(|| Problem::not_found("user"))?;
    Ok(shared.open_session(edge, user_id).await?.access_token)
}
