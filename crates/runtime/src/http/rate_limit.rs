use std::net::IpAddr;
use std::num::NonZeroU32;

use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter, state::keyed::DefaultKeyedStateStore};
use pangaea_kernel::{Problem, ProblemKind};

use crate::config::{Cidr, HttpConfig};

type Limiter = RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// Idle keys are dropped when there are more than this.
const KEYS_MAX: usize = 100_000;

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
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// A 429 with `Retry-After`.
    pub(crate) fn take(&self, class: Class, name: &str) -> Result<Allowance, Box<Response>> {
        let (per_minute, limiter) = &self.classes[class as usize];
        if limiter.len() > KEYS_MAX {
            limiter.retain_recent();
        }
        let allowance = Allowance { name: class.name(), per_minute: *per_minute, remaining: 0 };
        match limiter.check_key(&name.to_owned()) {
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

    pub(crate) fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
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
}
