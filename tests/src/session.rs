use std::time::{Duration, Instant};

use pangaea_testkit::{Account, Api};
use tokio::sync::Mutex;

use crate::Shop;

/// Half of the life of an access token.
const FRESH: Duration = Duration::from_secs(300);

/// Staff who stay signed in for longer than an access token lives.
pub struct Session {
    current: Mutex<Signed>,
}

struct Signed {
    api: Api,
    since: Instant,
}

// === impl Session ===

impl Session {
    /// With the token that the shop has, which is new.
    pub fn of_staff(shop: &Shop) -> Self {
        Self { current: Mutex::new(Signed { api: shop.staff.clone(), since: Instant::now() }) }
    }

    /// A client with a token. While no new one is to be had, the old one is still good for a while.
    pub async fn api(&self) -> Api {
        let mut current = self.current.lock().await;
        if current.since.elapsed() > FRESH
            && let Ok(api) = current.api.sign_in(Account::STAFF).await
        {
            *current = Signed { api, since: Instant::now() };
        }
        current.api.clone()
    }
}
