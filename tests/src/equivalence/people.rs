use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Answer, Api};
use serde_json::json;

use super::Driver;

pub(super) const ADMIN_EMAIL: &str = "admin@equivalence.example";
pub(super) const PASSWORD: &str = "a long enough password";
/// Longer than the life of an access token, and than the time for which a refresh token is good twice.
const TOKEN_MS: i64 = 600_000;

/// Those who take part in one round.
pub(super) struct People {
    pub(super) staff: Api,
    pub(super) customer: Api,
    /// Of the customer's session.
    refresh_token: String,
}

// === impl People ===

impl People {
    /// Opens an account for a customer and one for staff, and signs both in.
    ///
    /// # Errors
    /// What the store refuses.
    pub(super) async fn arrive(driver: &mut Driver, round: u32) -> Result<Self> {
        let admin = driver.store.api().sign_in_as(ADMIN_EMAIL, PASSWORD).await?;
        driver.step().await?;
        let (staff, _) = register(driver, "staff", round).await?;
        let path = format!("/v1/users/{}/roles", staff.text_at("id")?);
        let roles = admin.call_named("PUT", &path).json(json!({ "roles": ["staff"] })).header("if-match", "*");
        roles.send().await?.expect(200)?;
        driver.step().await?;
        let staff = driver.store.api().sign_in_as(&email("staff", round), PASSWORD).await?;
        driver.step().await?;
        let (_, customer_email) = register(driver, "customer", round).await?;
        let signed_in = sign_in(driver.store.api(), &customer_email).await?;
        let refresh_token = signed_in.text_at("refresh_token")?.to_owned();
        driver.step().await?;
        let customer = driver.store.api().sign_in_as(&customer_email, PASSWORD).await?;
        driver.step().await?;
        let profile = json!({ "name": format!("Customer, the {round}th") });
        let change = customer.call_named("PATCH", "/v1/users/me").json(profile).header("if-match", "*");
        change.send().await?.expect(200)?;
        driver.step().await?;
        Ok(Self { staff, customer, refresh_token })
    }

    /// The customer stays for longer than an access token lives: the refresh token gives another one, once. Used again it ends
    /// the session.
    ///
    /// # Errors
    /// When a token is good that should not be, or the other way round.
    pub(super) async fn stay(&self, driver: &mut Driver) -> Result<()> {
        driver.advance(TOKEN_MS).await?;
        let late = self.customer.get("/v1/users/me").send().await?;
        late.expect_problem(401, "unauthenticated").context("ten minutes later")?;
        let body = json!({ "refresh_token": self.refresh_token });
        let refresh = || self.customer.anonymous().post("/v1/sessions/refresh", body.clone()).send();
        let refreshed = refresh().await?.expect(200)?;
        let bearer = format!("Bearer {}", refreshed.text_at("access_token")?);
        let me = self.customer.anonymous().get("/v1/users/me").header("authorization", &bearer);
        me.send().await?.expect(200)?;
        driver.step().await?;
        // Later than the answer to its first use could have been lost.
        driver.advance(TOKEN_MS).await?;
        let again = refresh().await?;
        ensure!(again.status == 401, "a refresh token is good twice: {} {}", again.status, again.text);
        driver.step().await
    }
}

/// The staff of the first round, with a new token.
///
/// # Errors
/// When the sign-in is refused.
pub(super) async fn staff_again(driver: &mut Driver) -> Result<Api> {
    let staff = driver.store.api().sign_in_as(&email("staff", 0), PASSWORD).await?;
    driver.step().await?;
    Ok(staff)
}

async fn register(driver: &mut Driver, name: &str, round: u32) -> Result<(Answer, String)> {
    let email = email(name, round);
    let body = json!({ "email": email, "password": PASSWORD, "name": format!("{name} {round}") });
    let registered = driver.store.api().post("/v1/users", body).send().await?.expect(201)?;
    driver.step().await?;
    Ok((registered, email))
}

async fn sign_in(api: &Api, email: &str) -> Result<Answer> {
    let body = json!({ "email": email, "password": PASSWORD });
    api.post("/v1/sessions", body).send().await?.expect(201)
}

fn email(name: &str, round: u32) -> String {
    format!("{name}-{round}@equivalence.example")
}
