//! Whether a program is static, told by its headers and not by its name.

use anyhow::{Context as _, Result, ensure};

/// An entry of the program's table that names a loader.
const INTERPRETER: u64 = 3;

/// The loader that a 64-bit ELF program wants; `None` for a static one.
///
/// # Errors
/// When it is no such program.
pub(super) fn interpreter(program: &[u8]) -> Result<Option<String>> {
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "no 64-bit little-endian ELF program");
    let (table, size, count) = (number(program, 32, 8)?, number(program, 54, 2)?, number(program, 56, 2)?);
    for entry in (0..count).map(|index| (table + index * size) as usize) {
        if number(program, entry, 4)? == INTERPRETER {
            let (from, bytes) = (number(program, entry + 8, 8)? as usize, number(program, entry + 32, 8)? as usize);
            let name = program.get(from..from + bytes).context("a name beyond the end")?;
            return Ok(Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

fn number(program: &[u8], at: usize, bytes: usize) -> Result<u64> {
    let bytes = program.get(at..at + bytes).context("a header beyond the end")?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_loader_of_this_program() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let is_static = cfg!(target_feature = "crt-static");
        assert_eq!(interpreter(&this).unwrap().is_none(), is_static);
        assert!(interpreter(b"#!/bin/sh\n").is_err());
    }
}
