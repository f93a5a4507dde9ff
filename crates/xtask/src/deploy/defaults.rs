//! What the store does when it is told nothing: values of config/default.toml.

/// As this program was built with it.
const DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// `runtime.drain_timeout_ms`: what a stopping process may take.
pub(crate) fn drain_timeout_ms() -> u64 {
    number(DEFAULTS, "runtime", "drain_timeout_ms").expect("config/default.toml has no runtime.drain_timeout_ms")
}

/// A number of a section. Read by line, since nothing else of TOML is needed here.
fn number(text: &str, section: &str, key: &str) -> Option<u64> {
    let lines = text.lines().map(str::trim).skip_while(|line| *line != format!("[{section}]")).skip(1);
    let mut own = lines.take_while(|line| !line.starts_with('['));
    own.find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let value = value.split('#').next()?.trim().replace('_', "");
        (name.trim() == key).then(|| value.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_number_of_its_section_alone() {
        let text = "[http]\nms = 1\n\n[runtime]\n# ms = 2\nms = 10_000 # why\nmany_ms = 3\n[bus]\nms = 4\n";
        assert_eq!(number(text, "runtime", "ms"), Some(10_000));
        assert_eq!(number(text, "bus", "many_ms"), None);
    }

    #[test]
    fn the_file_has_what_is_asked_of_it() {
        assert!(drain_timeout_ms() > 0);
    }
}
