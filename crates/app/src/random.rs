//! Keys and passwords, from the system's random source.

use anyhow::{Context, Result};
use ring::rand::{SecureRandom, SystemRandom};

/// # Errors
/// When the system has no random source.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    #[expect(clippy::disallowed_methods, reason = "keys are made at the edge")]
    let random = SystemRandom::new();
    random.fill(&mut bytes).ok().context("the system has no random source")?;
    Ok(bytes)
}

/// The same as hexadecimal digits, two for each byte.
///
/// # Errors
/// When the system has no random source.
pub(crate) fn hex<const N: usize>() -> Result<String> {
    Ok(bytes::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
