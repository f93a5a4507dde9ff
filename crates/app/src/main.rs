//! `pangaea`: the store's four modules, and the command line of the library beside this file.

use std::process::ExitCode;

use pangaea::Catalogue;

/// Allocation is a large part of what a message costs; this allocator halves it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pangaea::main_with(&Catalogue::store())
}
