//! Every kind of problem has its section in `docs/problems.md`, and no section is left over.

use std::collections::BTreeMap;
use std::path::Path;

use pangaea_kernel::{Problem, ProblemKind};

/// Sections by their heading.
fn sections() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/problems.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let sections = text.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
    sections.map(|(heading, body)| (heading.trim().to_owned(), body.trim().to_owned())).collect()
}

#[test]
fn every_code_has_a_section_with_its_status_and_what_to_do() {
    let sections = sections();
    for kind in ProblemKind::ALL {
        let section =
            sections.get(kind.code()).unwrap_or_else(|| panic!("docs/problems.md has no section `## {}`", kind.code()));
        assert!(
            section.starts_with(&format!("{}. ", kind.status())),
            "{} begins with its status, {}",
            kind.code(),
            kind.status()
        );
        assert!(section.contains("**Do**: "), "{} says what to do", kind.code());
    }
}

#[test]
fn every_section_has_a_code() {
    let known: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.code()).collect();
    let left_over: Vec<String> = sections().into_keys().filter(|heading| !known.contains(&heading.as_str())).collect();
    assert!(left_over.is_empty(), "no problem has these codes: {left_over:?}");
}

#[test]
fn codes_are_unique_and_end_the_type() {
    let mut codes: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), ProblemKind::ALL.len());
    for kind in ProblemKind::ALL {
        let problem = Problem::new(*kind, "detail");
        assert_eq!(problem.type_uri.rsplit('/').next(), Some(kind.code()));
        assert_eq!((problem.status, problem.title.as_str()), (kind.status(), kind.title()));
    }
}
