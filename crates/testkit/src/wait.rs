use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks. Short against everything that is waited for, long against the cost of a look.
const POLL: Duration = Duration::from_millis(50);

/// Looks again and again until `probe` finds something, for at most `within`.
///
/// # Errors
/// When the time is up, naming `what`; or as soon as a probe fails.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + within;
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if Instant::now() >= until {
            bail!("{what}: not within {:.1} s", within.as_secs_f64());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finds_fails_or_names_what_it_waited_for() {
        let mut looks = 0;
        let found = eventually("three looks", Duration::from_secs(10), async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.await.unwrap(), 3);
        let late = eventually("the impossible", Duration::ZERO, async || Ok(None::<()>)).await.unwrap_err();
        assert!(late.to_string().starts_with("the impossible: not within"), "{late}");
        let failed = eventually::<()>("anything", Duration::from_secs(10), async || bail!("broken")).await.unwrap_err();
        assert_eq!(failed.to_string(), "broken");
    }
}
