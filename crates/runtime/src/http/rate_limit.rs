use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter, state::keyed::DefaultKeyedStateStore};
use pangaea_kernel::{Problem, ProblemKind};

use crate::config::{Cidr, HttpConfig};

type Limiter = RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// Names that are counted by themselves, in each class. With more than this, idle ones are dropped; if that is not enough,
/// all share a few counters, which is hard on the new ones and keeps the memory.
const KEYS_MAX: usize = 100_000;
const SHARED_KEYS: u64 = 1_024;
/// Looking for idle ones costs a look at all of them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Anonymous,
    Customer,
    Staff,
}

/// Requests per minute by principal, or by address without one (draft-ietf-httpapi-ratelimit-headers).
///
/// `X-Forwarded-For` counts only when the peer is a listed proxy: anyone else could name any address.
pub(crate) struct RateLimits {
    classes: [(u32, Limiter); 3],
    clock: DefaultClock,
    swept: Mutex<[Option<Instant>; 3]>,
    trusted_proxies: Vec<Cidr>,
}

/// What was allowed, to be told in the answer's headers.
pub(crate) struct Allowance {
    name: &'static str,
    per_minute: u32,
    /// Requests that may follow at once.
    remaining: u32,
}

// === impl RateLimits ===

impl RateLimits {
    pub(crate) fn new(config: &HttpConfig) -> Self {
        let limits = &config.rate_limit_per_minute;
        let limiter = |per_minute: u32| {
            let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
            (per_minute, RateLimiter::keyed(quota).with_middleware())
        };
        Self {
            classes: [limiter(limits.anonymous), limiter(limits.customer), limiter(limits.staff)],
            clock: DefaultClock::default(),
            swept: Mutex::default(),
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// A 429 with `Retry-After`.
    pub(crate) fn take(&self, class: Class, name: &str) -> Result<Allowance, Box<Response>> {
        let (per_minute, limiter) = &self.classes[class as usize];
        let allowance = Allowance { name: class.name(), per_minute: *per_minute, remaining: 0 };
        match limiter.check_key(&self.key(class, name)) {
            Ok(state) => Ok(Allowance { remaining: state.remaining_burst_capacity(), ..allowance }),
            Err(until) => {
                let wait = until.wait_time_from(self.clock.now());
                let seconds = wait.as_secs() as u32 + 1;
                metrics::counter!("pangaea_rate_limited_total", "class" => class.name()).increment(1);
                let problem = Problem::new(ProblemKind::TooManyRequests, "slow down").with_retry_after(seconds);
                let mut response = allowance.on(problem.into_response());
                let limit = format!("\"{}\";r=0;t={seconds}", class.name());
                if let Ok(value) = HeaderValue::try_from(limit) {
                    response.headers_mut().insert("ratelimit", value);
                }
                Err(Box::new(response))
            }
        }
    }

    /// Counts a request that is refused anyway.
    pub(crate) fn limited(&self, class: Class, name: &str, problem: Problem) -> Response {
        match self.take(class, name) {
            Ok(allowance) => allowance.on(problem.into_response()),
            Err(response) => *response,
        }
    }

    /// The name itself, or, where there are too many, one that it shares with others.
    fn key(&self, class: Class, name: &str) -> String {
        let (_, limiter) = &self.classes[class as usize];
        if limiter.len() <= KEYS_MAX {
            return name.to_owned();
        }
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let swept = &mut swept[class as usize];
        if swept.is_none_or(|swept| swept.elapsed() > SWEEP_EVERY) {
            limiter.retain_recent();
            *swept = Some(Instant::now());
        }
        if limiter.len() <= KEYS_MAX {
            return name.to_owned();
        }
        let digest = pangaea_contracts::digest_text(&[name.as_bytes()], 8);
        let number = digest.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        format!("shared {}", number % SHARED_KEYS)
    }

    /// What a client without a token is counted by: its address, or its network where one client has as many addresses as
    /// it likes (an IPv6 /64).
    pub(crate) fn client_name(&self, peer: IpAddr, headers: &HeaderMap) -> String {
        match self.client_address(peer, headers).to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                format!("{}/64", Ipv6Addr::from_bits(network))
            }
        }
    }

    fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let is_proxy = |address: IpAddr| self.trusted_proxies.iter().any(|range| range.contains(address));
        if !is_proxy(peer) {
            return peer;
        }
        // Every proxy adds the peer it saw, at the end or as a line of its own: the last one that is no proxy is the
        // client. What stands before it was the client's to make up.
        let lines: Vec<&str> =
            headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
        let entries = lines.iter().rev().flat_map(|line| line.rsplit(','));
        entries.map_while(|entry| entry.trim().parse().ok()).find(|address| !is_proxy(*address)).unwrap_or(peer)
    }
}

// === impl Class ===

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Customer => "customer",
            Self::Staff => "staff",
        }
    }
}

// === impl Allowance ===

impl Allowance {
    pub(crate) fn on(&self, mut response: Response) -> Response {
        let policy = format!("\"{}\";q={};w=60", self.name, self.per_minute);
        if let Ok(value) = HeaderValue::try_from(policy) {
            response.headers_mut().insert("ratelimit-policy", value);
        }
        if let Ok(value) = HeaderValue::try_from(format!("\"{}\";r={}", self.name, self.remaining)) {
            response.headers_mut().insert("ratelimit", value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listed_proxy_says_who_the_client_is() {
        let mut config = crate::config::Config::load(&Default::default()).unwrap().config.http;
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let limits = RateLimits::new(&config);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        headers.append("x-forwarded-for", HeaderValue::from_static("7.7.7.7, 192.0.2.1, 10.0.0.9"));
        assert_eq!(limits.client_address(ip("203.0.113.5"), &headers), ip("203.0.113.5"));
        assert_eq!(limits.client_address(ip("10.0.0.1"), &headers), ip("192.0.2.1"));
        assert_eq!(limits.client_address(ip("10.0.0.1"), &HeaderMap::new()), ip("10.0.0.1"));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let limits = RateLimits::new(&crate::config::Config::load(&Default::default()).unwrap().config.http);
        let name = |text: &str| limits.client_name(text.parse().unwrap(), &HeaderMap::new());
        assert_eq!(name("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(name("2001:db8:1:2:ffff::7"), name("2001:db8:1:2::1"));
        assert_ne!(name("2001:db8:1:3::1"), name("2001:db8:1:2::1"));
        assert_eq!(name("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn names_without_number_share_their_counters() {
        let limits = RateLimits::new(&crate::config::Config::load(&Default::default()).unwrap().config.http);
        for number in 0..KEYS_MAX + 20_000 {
            let _ = limits.take(Class::Anonymous, &format!("address {number}"));
        }
        let keys = limits.classes[Class::Anonymous as usize].1.len();
        assert!(keys <= KEYS_MAX + 1 + SHARED_KEYS as usize, "{keys}");
    }
}
