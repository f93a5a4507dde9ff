//! The store with reviews: the whole command line of `pangaea`, and one module more.

use std::process::ExitCode;

use pangaea::Catalogue;
use pangaea_reviews::Reviews;

fn main() -> ExitCode {
    pangaea::main_with(&Catalogue::store().and(|_| Ok(Reviews)))
}
