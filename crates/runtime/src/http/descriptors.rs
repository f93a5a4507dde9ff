/// Files, sockets and pipes that the process needs beside its clients: databases, logs, the broker, calls under way.
const RESERVED: u64 = 512;

/// How many of the connections wanted the system lets this process have; it raises the process' own bound first. A server
/// that takes more runs out of file descriptors, and then cannot open its databases either.
pub(super) fn connections_that_fit(wanted: usize) -> usize {
    let needed = wanted as u64 + RESERVED;
    let limit = match rlimit::increase_nofile_limit(needed) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "the bound on open files cannot be asked for");
            return wanted;
        }
    };
    let fitting = fitting(wanted, limit);
    if fitting < wanted {
        tracing::warn!(
            wanted,
            fitting,
            limit,
            "the system allows too few open files for http.connections_max: raise the hard limit (ulimit -Hn, LimitNOFILE)"
        );
    }
    fitting
}

fn fitting(wanted: usize, limit: u64) -> usize {
    // However small the bound is, half of it is for clients.
    let fitting = limit.saturating_sub(RESERVED).max(limit / 2).max(1);
    usize::try_from(fitting).unwrap_or(usize::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn clients_leave_the_rest_of_the_process_its_files() {
        assert_eq!(fitting(10_000, 20_000), 10_000);
        assert_eq!(fitting(10_000, 10_512), 10_000);
        assert_eq!(fitting(10_000, 4_096), 3_584);
        assert_eq!(fitting(10_000, 256), 128);
        assert_eq!(fitting(100, 1_024), 100);
    }
}
