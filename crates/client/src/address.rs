//! Where a coordinator listens: `HOST:PORT`, with `http://` before it or not. Looks nothing up.

use std::time::Duration;

use tonic::transport::Endpoint;

/// Longer than any round trip, shorter than anybody's patience.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that is gone without a word (its machine lost power) is noticed after these two together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a text is not the address of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address: {why}; write HOST:PORT, for example 127.0.0.1:7177")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

/// The endpoint at `text`; nothing is connected yet.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, AddressError> {
    let error = |why| AddressError { text: text.to_owned(), why };
    let text = text.trim();
    if text.starts_with("https://") {
        return Err(error("TLS is asked for by `--ca`"));
    }
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let (host, port) = bare.rsplit_once(':').ok_or_else(|| error("it has no port"))?;
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(error("it has no host"));
    }
    if port.parse::<u16>().is_ok_and(|port| port > 0) {
        let endpoint = Endpoint::from_shared(format!("http://{bare}")).map_err(|_| error("it has no host"))?;
        Ok(endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT))
    } else {
        Err(error("the port is not a number from 1 to 65535"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7177", "http://node-1:7177", "[::1]:7177", " node.example:1/ "] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "node", ":7177", "node:", "node:0", "node:70000", "https://node:7177", "a b:1", "u@h:1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
