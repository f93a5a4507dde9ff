use ring::digest::{Context, SHA256};

/// What the run did, as a hash, and on demand as text.
pub(crate) struct Trace {
    hash: Context,
    printed: bool,
    steps: u64,
}

// === impl Trace ===

impl Trace {
    /// `printed`: each step goes to standard output as well.
    pub(crate) fn new(printed: bool) -> Self {
        Self { hash: Context::new(&SHA256), printed, steps: 0 }
    }

    /// Takes in a step. Its length goes before it, so that no two lists of steps run together.
    pub(crate) fn step(&mut self, now_ms: i64, text: &str) {
        self.steps += 1;
        self.add(text);
        self.add(&now_ms.to_string());
        if self.printed {
            println!("{:>5} {now_ms:>8} ms  {text}", self.steps);
        }
    }

    /// Takes in something that is part of the outcome and no step.
    pub(crate) fn add(&mut self, text: &str) {
        self.hash.update(&(text.len() as u64).to_be_bytes());
        self.hash.update(text.as_bytes());
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// 32 hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        self.hash.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}
