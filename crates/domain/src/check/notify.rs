//! Webhooks: addresses that can be posted to, about things that can happen.

use std::collections::BTreeSet;

use super::Context;
use crate::document::{Fault, Path};
use crate::spec::NotifyOn;

/// How many webhooks a sweep may have.
const HOOKS_MAX: usize = 8;
/// The longest address, in bytes.
const ADDRESS_MAX: usize = 2_048;

/// Webhooks that nothing could be sent to.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let hooks = &context.spec.notify;
    let mut faults = Vec::new();
    if hooks.len() > HOOKS_MAX {
        let message = format!("{} webhooks: a sweep has at most {HOOKS_MAX}", hooks.len());
        faults.push(Fault::new("notify", message).at_key().hint("let one receiver tell the others"));
    }
    let several = context.spec.objectives().len() != 1;
    for (place, hook) in hooks.iter().enumerate() {
        let at = Path::from("notify").index(place);
        if let Err(why) = address(&hook.webhook) {
            let fault = Fault::new(at.key("webhook"), format!("`{}` cannot be posted to: {why}", hook.webhook));
            faults.push(fault.hint("write `https://HOST/PATH`"));
        }
        if hook.on.is_empty() {
            let fault = Fault::new(at.key("on"), "it is told of nothing");
            faults.push(fault.hint("there are `finished`, `failed` and `new_best`"));
        }
        let once: BTreeSet<NotifyOn> = hook.on.iter().copied().collect();
        if once.len() < hook.on.len() {
            faults.push(Fault::new(at.key("on"), "it is told of the same thing twice").hint("name each once"));
        }
        if several && hook.on.contains(&NotifyOn::NewBest) && context.is_whole("objective") {
            let fault = Fault::new(at.key("on"), "there is no best trial without exactly one objective");
            faults.push(fault.hint("remove `new_best`; `finished` tells when the sweep is over"));
        }
    }
    faults
}

/// Whether the text is an address that can be posted to.
fn address(text: &str) -> Result<(), &'static str> {
    if text.len() > ADDRESS_MAX {
        return Err("it is longer than 2048 bytes");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || !c.is_ascii()) {
        return Err("an address has neither blanks nor letters beyond ASCII");
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("it begins with neither `https://` nor `http://`")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a name and a password are not sent along");
    }
    if rest.contains('#') {
        return Err("what is behind a `#` is not sent");
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host.is_empty() { Err("it names no host") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_no_secrets_in_front() {
        for good in ["https://a.example", "http://127.0.0.1:80/x?y=z", "https://[::1]:8/"] {
            assert_eq!(address(good), Ok(()), "{good}");
        }
        for bad in
            ["", "a.example/x", "ftp://a", "https://", "https://:80/", "https://u:p@a/", "https://a/ b", "http://a/#x"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
