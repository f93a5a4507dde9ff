use tracing_subscriber::EnvFilter;

const FILTER_BYTES_MAX: usize = 4_096;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether `text` can be a `telemetry.log_filter`.
///
/// # Errors
/// Says which part cannot be read.
pub fn check_filter(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

pub(super) fn parse(text: &str) -> Result<EnvFilter, String> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(format!("is longer than {FILTER_BYTES_MAX} bytes"));
    }
    // A space behind a comma is easily written, and EnvFilter takes none.
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    // EnvFilter takes a lone word for the name of a target, so that a misspelt level would silence everything else.
    let is_level = |part: &str| LEVELS.contains(&part.to_ascii_lowercase().as_str());
    if let Some(lone) = parts.iter().find(|part| !part.contains(['=', '[']) && !is_level(part)) {
        return Err(format!("{lone:?} is not a level: write one of {}, or target=level", LEVELS.join(", ")));
    }
    EnvFilter::builder()
        .parse(parts.join(","))
        .map_err(|error| format!("{error}: write levels such as info,pangaea_runtime=debug"))
}

#[cfg(test)]
mod tests {
    use super::check_filter;

    #[test]
    fn levels_and_targets_are_read_and_misspelt_ones_refused() {
        for sound in
            ["info", "off", "warn,pangaea_runtime=debug", "INFO, pangaea_bus=trace", "info,[http{route}]=debug"]
        {
            assert_eq!(check_filter(sound), Ok(()), "{sound}");
        }
        for (bad, says) in [
            ("inof", "\"inof\" is not a level"),
            ("", "is not a level"),
            ("info,pangaea=loud", "write levels such as"),
            ("info,,warn", "\"\""),
        ] {
            let error = check_filter(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
        assert!(check_filter(&"info,".repeat(1_000)).unwrap_err().contains("4096"));
    }
}
