//! A bound on the memory of this process, so that a small input that asks for much fails where it asks.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{SysconfVar, sysconf};
use std::io::{Error, Result};

/// Lets the process take `bytes` more address space than it has now, from any allocator, touched or not.
pub fn bound(bytes: u64) -> Result<()> {
    let limit = used()?.saturating_add(bytes);
    let (_, hard) = getrlimit(Resource::RLIMIT_AS)?;
    Ok(setrlimit(Resource::RLIMIT_AS, limit.min(hard), hard)?)
}

/// Lifts the bound before a panic is reported: a backtrace takes more memory than any input.
pub fn lift_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let lifted = getrlimit(Resource::RLIMIT_AS)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_AS, hard, hard));
        if let Err(cause) = lifted {
            eprintln!("the bound on memory stays: {cause}");
        }
        report(panic);
    }));
}

fn used() -> Result<u64> {
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|bytes| u64::try_from(bytes).ok());
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').next().and_then(|pages| pages.parse().ok());
    let bytes = page_bytes
        .zip(pages)
        .map(|(bytes, pages): (u64, u64)| bytes * pages);
    bytes.ok_or_else(|| Error::other("/proc/self/statm does not begin with a number of pages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_more_than_the_bound_gets_nothing() {
        bound(64 << 20).unwrap();
        let mut bytes: Vec<u8> = Vec::new();
        assert!(bytes.try_reserve_exact(1 << 30).is_err());
        assert!(bytes.try_reserve_exact(1 << 20).is_ok());
    }
}
